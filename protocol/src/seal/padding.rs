//! Hides how long a content is: the relay sees only in which bucket it lies.
//!
//! Content is followed by one byte 1 and by zeros up to the length of a bucket. Buckets are 256 bytes
//! and each power of two up to 64 KiB, then each multiple of 64 KiB.

const SMALLEST: usize = 256;
const STEP: usize = 64 * 1024;

/// The length of the bucket for this many bytes of content.
#[must_use]
pub fn bucket(content: usize) -> usize {
    let marked = content.saturating_add(1);
    if marked <= STEP {
        marked.next_power_of_two().max(SMALLEST)
    } else {
        marked.div_ceil(STEP).saturating_mul(STEP)
    }
}

/// The content with its padding.
#[must_use]
pub fn pad(content: &[u8]) -> Vec<u8> {
    let mut padded = Vec::with_capacity(bucket(content.len()) + 16);
    padded.extend_from_slice(content);
    padded.push(1);
    padded.resize(bucket(content.len()), 0);
    padded
}

/// Takes the padding off. `None` when it is not that of [`pad`].
#[must_use]
pub fn unpad(mut padded: Vec<u8>) -> Option<Vec<u8>> {
    let mark = padded.iter().rposition(|byte| *byte != 0)?;
    if padded.get(mark) != Some(&1) || padded.len() != bucket(mark) {
        return None;
    }
    padded.truncate(mark);
    Some(padded)
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a test that fails panics")]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn buckets_are_powers_of_two_and_then_steps() {
        let buckets = [
            (0, 256),
            (255, 256),
            (256, 512),
            (1000, 1024),
            (1024, 2048),
            (65_535, 65_536),
            (65_536, 131_072),
            (200_000, 262_144),
        ];
        for (content, length) in buckets {
            assert_eq!(bucket(content), length, "{content}");
        }
    }

    proptest! {
        #[test]
        fn padding_comes_off_again(content in prop::collection::vec(any::<u8>(), 0..3000)) {
            let padded = pad(&content);
            prop_assert_eq!(padded.len(), bucket(content.len()));
            prop_assert_eq!(unpad(padded), Some(content));
        }
    }

    #[test]
    fn other_padding_is_refused() {
        assert_eq!(unpad(vec![0; 256]), None);
        assert_eq!(unpad(Vec::new()), None);
        assert_eq!(unpad(vec![1; 255]), None);
        let mut longer = pad(b"short");
        longer.resize(512, 0);
        assert_eq!(unpad(longer), None);
        let mut other = pad(b"short");
        *other.get_mut(5).unwrap() = 2;
        assert_eq!(unpad(other), None);
    }
}
