//! Telling a session of an adapter what a transcript says, and writing down what it does.

use rp_engine::{Adapter, AdapterSession, CallError};
use rp_protocol::session::{Effect, Event, Framing};
use rp_session::framing::{LINE_LIMIT, LineSplitter, Piece};

use super::{
    promises::Promises,
    transcripts::{Told, Transcript},
};

/// What came of a transcript.
pub struct Played {
    /// Each call and what the adapter did.
    pub calls: Vec<(Told, Vec<Effect>)>,
    /// Promises that were broken, in words.
    pub broken: Vec<String>,
}

/// How output reaches the adapter.
#[derive(Debug, Clone, Copy)]
pub enum Cut {
    /// As the transcript has it.
    Whole,
    /// In chunks whose borders are anywhere.
    Anywhere,
}

/// Plays a transcript to a fresh session.
pub async fn play(
    adapter: &Adapter,
    transcript: &Transcript,
    framing: Framing,
    cut: Cut,
) -> Result<Played, CallError> {
    let mut player = Player {
        session: adapter.session(&transcript.request).await?,
        promises: Promises::default(),
        calls: Vec::new(),
        commands: 0,
        now: 0,
        alarm: None,
    };
    let effects = player.session.started().await?;
    player.take(Told::Wake, effects);
    for (at_ms, told) in cut_up(&transcript.told, framing, cut) {
        player.ring_until(at_ms).await?;
        player.tell(told).await?;
    }
    player.promises.finish();
    Ok(Played { calls: player.calls, broken: player.promises.broken })
}

struct Player {
    session: AdapterSession,
    promises: Promises,
    calls: Vec<(Told, Vec<Effect>)>,
    commands: u64,
    /// Milliseconds since the start.
    now: u64,
    alarm: Option<u64>,
}

impl Player {
    /// Passes the time, where it is known: an adapter that asked to be woken by then is.
    async fn ring_until(&mut self, at_ms: Option<u64>) -> Result<(), CallError> {
        let Some(until) = at_ms else { return Ok(()) };
        while let Some(at) = self.alarm.take_if(|at| *at <= until) {
            self.now = at;
            self.tell(Told::Wake).await?;
        }
        self.now = until;
        Ok(())
    }

    async fn tell(&mut self, told: Told) -> Result<(), CallError> {
        let effects = match &told {
            Told::Output(line) => self.session.output(line).await?,
            Told::Diagnostics(line) => self.session.diagnostics(line).await?,
            Told::Wake => self.session.wake().await?,
            Told::Command(command) => {
                self.commands += 1;
                self.promises.command(self.commands, command);
                self.session.command(self.commands, command).await?
            }
            Told::Exited(how) => {
                self.promises.exiting();
                self.session.exited(how).await?
            }
        };
        self.take(told, effects);
        Ok(())
    }

    fn take(&mut self, told: Told, effects: Vec<Effect>) {
        for effect in &effects {
            if let Effect::WakeAfter(ms) = effect {
                self.alarm = Some(self.now + u64::from(*ms));
            }
            self.promises.effect(effect);
        }
        self.calls.push((told, effects));
    }
}

/// The same calls, with the output between two others cut anew.
fn cut_up(told: &[(Option<u64>, Told)], framing: Framing, cut: Cut) -> Vec<(Option<u64>, Told)> {
    if matches!((cut, framing), (Cut::Whole, Framing::Lines)) {
        return told.to_vec();
    }
    let mut random = Random(0x9e37_79b9_7f4a_7c15);
    let mut calls = Vec::new();
    let mut stream = Vec::new();
    let mut since = None;
    for (at_ms, call) in told {
        match call {
            Told::Output(line) => {
                if stream.is_empty() {
                    since = *at_ms;
                }
                stream.extend_from_slice(line);
                stream.push(b'\n');
                if matches!(cut, Cut::Whole) {
                    calls.push((*at_ms, Told::Output(std::mem::take(&mut stream))));
                }
            }
            other => {
                let pieces = pieces(&std::mem::take(&mut stream), framing, &mut random);
                calls.extend(pieces.into_iter().map(|piece| (since, Told::Output(piece))));
                calls.push((*at_ms, other.clone()));
            }
        }
    }
    calls
}

/// A stream as it comes out of a pipe, as the host hands it over.
fn pieces(stream: &[u8], framing: Framing, random: &mut Random) -> Vec<Vec<u8>> {
    let mut lines = LineSplitter::new(LINE_LIMIT);
    let mut rest = stream;
    let mut pieces = Vec::new();
    while !rest.is_empty() {
        let (chunk, behind) = rest.split_at(random.up_to(rest.len().min(700)));
        rest = behind;
        match framing {
            Framing::Bytes => pieces.push(chunk.to_vec()),
            Framing::Lines => {
                pieces.extend(lines.push(chunk).into_iter().filter_map(|piece| match piece {
                    Piece::Data(line) => Some(line),
                    Piece::Dropped { .. } => None,
                }))
            }
        }
    }
    pieces
}

/// The same numbers every time (xorshift).
struct Random(u64);

impl Random {
    /// From 1 to `most`, which is not 0.
    fn up_to(&mut self, most: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        let most = u64::try_from(most).unwrap_or(u64::MAX).max(1);
        usize::try_from(self.0 % most).unwrap_or(0) + 1
    }
}

/// What clients and the harness get to see of a replay, however its output was cut: pieces of one
/// text that follow each other are one.
pub fn story(played: &Played) -> Vec<Effect> {
    let mut story: Vec<Effect> = Vec::new();
    for effect in played.calls.iter().flat_map(|(_, effects)| effects) {
        if matches!(effect, Effect::WakeAfter(_)) {
            continue;
        }
        if let (Some(Effect::Event(last)), Effect::Event(next)) = (story.last_mut(), effect)
            && join(last, next)
        {
            continue;
        }
        story.push(effect.clone());
    }
    story
}

/// Adds the next piece of the same text to the last one.
fn join(last: &mut Event, next: &Event) -> bool {
    match (last, next) {
        (Event::Text { message, piece }, Event::Text { message: same, piece: more })
        | (Event::Thinking { message, piece }, Event::Thinking { message: same, piece: more })
        | (
            Event::ToolProgress { call: message, piece },
            Event::ToolProgress { call: same, piece: more },
        ) if message == same => {
            piece.push_str(more);
            true
        }
        _ => false,
    }
}
