//! Pairs of connections: one sends as fast as a window allows, the other receives. Both are in
//! this process, so the time in a message tells how long it took.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use anyhow::{Context, Result};
use hdrhistogram::Histogram;
use tokio::sync::Semaphore;

use crate::float;

/// Bytes of filler in each message.
pub(super) const BODY: usize = 1024;

/// How long one load may take.
const PATIENCE: Duration = Duration::from_secs(120);

/// The end of a pair that sends.
pub(super) trait Sends: Send + 'static {
    /// Sends a message that says this number: the time.
    fn send(&mut self, time: u64) -> impl Future<Output = Result<()>> + Send;
}

/// The end of a pair that receives.
pub(super) trait Receives: Send + 'static {
    /// The number that the next message says.
    fn receive(&mut self) -> impl Future<Output = Result<u64>> + Send;
}

/// Messages per second, and their latencies in microseconds.
pub(super) struct Load {
    pub(super) per_second: f64,
    latency: Histogram<u64>,
}

impl Load {
    pub(super) fn p50(&self) -> f64 {
        float(self.latency.value_at_quantile(0.5))
    }

    pub(super) fn p99(&self) -> f64 {
        float(self.latency.value_at_quantile(0.99))
    }
}

/// Sends so many messages over the pairs, with a window for each of them.
pub(super) async fn load<S: Sends, R: Receives>(
    pairs: &mut Vec<(S, R)>,
    window: usize,
    messages: usize,
) -> Result<Load> {
    let each = messages / pairs.len().max(1);
    let start = Instant::now();
    let running: Vec<_> = pairs.drain(..).map(|pair| run(pair, window, each, start)).collect();
    let mut latency = Histogram::new(3)?;
    for pair in running {
        let finished = tokio::time::timeout(PATIENCE, pair).await;
        let (of_pair, pair) = finished.context("messages are missing")??;
        latency.add(of_pair)?;
        pairs.push(pair);
    }
    let per_second = float(latency.len()) / start.elapsed().as_secs_f64();
    Ok(Load { per_second, latency })
}

/// Starts one pair, and gives what waits for its end.
fn run<S: Sends, R: Receives>(
    (mut sender, mut receiver): (S, R),
    window: usize,
    messages: usize,
    start: Instant,
) -> impl Future<Output = Result<(Histogram<u64>, (S, R))>> {
    let permits = Arc::new(Semaphore::new(window));
    let given = Arc::clone(&permits);
    let sending = tokio::spawn(async move {
        for _ in 0..messages {
            permits.acquire().await?.forget();
            sender.send(microseconds(start)).await?;
        }
        anyhow::Ok(sender)
    });
    let receiving = tokio::spawn(async move {
        let mut latency = Histogram::<u64>::new(3)?;
        for _ in 0..messages {
            let sent = receiver.receive().await?;
            latency.record(microseconds(start).saturating_sub(sent))?;
            given.add_permits(1);
        }
        anyhow::Ok((latency, receiver))
    });
    async {
        let (sent, received) = tokio::try_join!(sending, receiving)?;
        let (latency, receiver) = received?;
        Ok((latency, (sent?, receiver)))
    }
}

fn microseconds(start: Instant) -> u64 {
    u64::try_from(start.elapsed().as_micros()).unwrap_or(u64::MAX)
}

/// A body that says the time and goes on with filler.
pub(super) fn body(time: u64, filler: &str) -> String {
    format!("T:{time}:{filler}")
}

/// The time that a body says, wherever in these bytes it begins.
pub(super) fn time_in(bytes: &[u8]) -> Result<u64> {
    let at = bytes.windows(2).position(|two| two == b"T:").context("no time in a message")?;
    let digits = bytes.iter().skip(at + 2).take_while(|byte| byte.is_ascii_digit());
    Ok(digits.fold(0, |time, digit| time * 10 + u64::from(digit - b'0')))
}
