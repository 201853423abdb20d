//! Hides how long a content is: the relay sees only in which bucket it lies.
//!
//! Content is followed by one byte 1 and by zeros up to the length of a bucket. The smallest bucket has
//! 256 bytes. Above, a length keeps as many leading bits as its logarithm has bits, and the others
//! become zeros, upwards: Padmé (Nikitin et al., "Reducing Metadata Leakage from Encrypted Files and
//! Communication with PURBs", 2019, section 4). So padding adds at most a sixteenth, and lengths up
//! to 8 MiB lie in fewer than 360 buckets.

const SMALLEST: usize = 256;

/// The length of the bucket for this many bytes of content.
#[must_use]
pub fn bucket(content: usize) -> usize {
    let marked = content.saturating_add(1).max(SMALLEST);
    let logarithm = marked.ilog2();
    let kept_bits = logarithm.ilog2() + 1;
    let step = 1 << (logarithm - kept_bits);
    marked.checked_next_multiple_of(step).unwrap_or(usize::MAX)
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
    fn buckets_grow_in_steps_that_grow() {
        let buckets = [
            (0, 256),
            (255, 256),
            (256, 272),
            (271, 272),
            (272, 288),
            (511, 512),
            (1000, 1024),
            (1024, 1088),
            (65_535, 65_536),
            (65_536, 67_584),
            (8_257_535, 8_257_536),
            (8_257_536, 8_388_608),
            (usize::MAX, usize::MAX),
        ];
        for (content, length) in buckets {
            assert_eq!(bucket(content), length, "{content}");
        }
    }

    #[test]
    fn there_are_few_buckets_and_they_cost_little() {
        let (mut content, mut buckets) = (0, 0);
        while content < 8 * 1024 * 1024 {
            let length = bucket(content);
            assert!(length <= SMALLEST || (length - content) * 16 <= content, "{content}");
            (content, buckets) = (length, buckets + 1);
        }
        assert!(buckets < 360, "{buckets}");
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
