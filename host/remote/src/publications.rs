//! What the relay keeps of owners: their memberships, read and published over HTTP.

use std::time::Duration;

use rp_link::{HttpError, Relay, get, post};
use rp_protocol::key::PublicKey;
use rp_protocol::membership::{
    Answer, FETCH_DEADLINE_MS, MAX_ANSWER_BYTES, SignedMembership, write_publication,
};

/// How long a relay may take to answer, for each question.
const DEADLINE: Duration = Duration::from_millis(FETCH_DEADLINE_MS);

/// An owner's membership as the relay has it, if it is newer than `since`; the status of the answer
/// too.
pub(crate) async fn read(
    relay: &Relay,
    owner: &PublicKey,
    since: Option<u64>,
) -> Result<(u16, Answer), HttpError> {
    let since = since.map(|version| format!("?since={version}")).unwrap_or_default();
    let path = format!("/mesh/{}{since}", owner.hash());
    let (status, body) = get(relay, &path, MAX_ANSWER_BYTES + 1, DEADLINE).await?;
    Ok((status, Answer::read(status, &body)))
}

/// Gives the relay a membership. The status of the answer, 200 if it took it, and what it says.
pub(crate) async fn publish(
    relay: &Relay,
    signed: &SignedMembership,
) -> Result<(u16, String), HttpError> {
    let path = format!("/mesh/{}", signed.membership().owner.hash());
    let body = write_publication(signed);
    let (status, body) = post(relay, &path, body, MAX_ANSWER_BYTES, DEADLINE).await?;
    Ok((status, String::from_utf8_lossy(&body).into_owned()))
}
