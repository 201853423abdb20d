//! The life of a WebSocket after its login, whatever is spoken on it.

use std::future::poll_fn;
use std::ops::ControlFlow;
use std::pin::{Pin, pin};
use std::sync::LazyLock;
use std::task::{Context, Poll};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite};
use tokio::time::{Instant, Sleep, sleep_until};

use crate::websocket::{Close, Ended, Message, Socket};

/// How often a side shows that it is there. Machines of Remote Pi give a connection up that is
/// silent for 70 s.
pub const BEAT: Duration = Duration::from_secs(25);

/// How often a connection receives before it lets others run.
const RECEIVES_IN_A_ROW: usize = 4;

/// Beats of all connections fall on whole seconds counted from here, so that a relay with many
/// idle connections wakes up once for all that are due.
static START: LazyLock<Instant> = LazyLock::new(Instant::now);

/// What is done with what a client sends.
pub trait Conversation {
    /// Takes a message; breaks when the client ends the connection.
    fn handle(&mut self, message: Message<'_>) -> ControlFlow<()>;

    /// Counts what was handled since the last call, and returns how long to leave the client unread.
    fn charge(&mut self) -> Duration;

    /// Shows the client that the relay is there. False when the client has been silent for too long.
    fn beat(&mut self) -> bool;
}

/// Receives and sends until the connection ends.
pub async fn converse<S, C>(socket: &mut Socket<S>, conversation: &mut C) -> Ended
where
    S: AsyncRead + AsyncWrite + Unpin,
    C: Conversation,
{
    let mut next_beat = on_beat(Instant::now() + BEAT);
    let mut paused = false;
    let mut timer = pin!(sleep_until(next_beat));
    poll_fn(|context| {
        if !paused {
            match receive(socket, conversation, context) {
                ControlFlow::Break(ended) => return Poll::Ready(ended),
                ControlFlow::Continue(Duration::ZERO) => {}
                ControlFlow::Continue(pause) => {
                    paused = true;
                    timer.as_mut().reset((Instant::now() + pause).min(next_beat));
                }
            }
        }
        if let Poll::Ready(ended) = socket.poll_send(context) {
            return Poll::Ready(ended);
        }
        while has_elapsed(timer.as_mut(), context) {
            // A pause that is not over yet is found to be so at the next charge.
            if std::mem::take(&mut paused) {
                context.waker().wake_by_ref();
            }
            if Instant::now() >= next_beat {
                next_beat += BEAT;
                if !conversation.beat() {
                    return Poll::Ready(Ended::Gone);
                }
                socket.shrink();
            }
            timer.as_mut().reset(next_beat);
        }
        Poll::Pending
    })
    .await
}

/// Handles what has come. Breaks when the connection is over; goes on with how long to leave it
/// unread.
fn receive<S, C>(
    socket: &mut Socket<S>,
    conversation: &mut C,
    context: &mut Context<'_>,
) -> ControlFlow<Ended, Duration>
where
    S: AsyncRead + AsyncWrite + Unpin,
    C: Conversation,
{
    for _ in 0..RECEIVES_IN_A_ROW {
        let mut is_over = false;
        let received = socket.poll_receive(context, |message| {
            let flow = conversation.handle(message);
            is_over = flow.is_break();
            flow
        });
        let Poll::Ready(received) = received else {
            return ControlFlow::Continue(Duration::ZERO);
        };
        let pause = conversation.charge();
        match received {
            Err(ended) => return ControlFlow::Break(ended),
            Ok(()) if is_over => return ControlFlow::Break(Ended::Asked(Close::Code(1000))),
            Ok(()) if pause.is_zero() => {}
            Ok(()) => return ControlFlow::Continue(pause),
        }
    }
    context.waker().wake_by_ref();
    ControlFlow::Continue(Duration::ZERO)
}

/// The last whole second, counted from [`START`], before `at`.
fn on_beat(at: Instant) -> Instant {
    let since = at.saturating_duration_since(*START);
    *START + Duration::from_secs(since.as_secs())
}

fn has_elapsed(timer: Pin<&mut Sleep>, context: &mut Context<'_>) -> bool {
    use std::future::Future as _;
    timer.poll(context).is_ready()
}
