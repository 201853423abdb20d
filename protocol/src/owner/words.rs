//! Recovery words: an owner key as 24 English words (BIP-39).
//!
//! The words are the 32 bytes of the key's seed and a checksum, not a passphrase that a seed is
//! stretched from: so any owner key has its words, also one that was made on a phone.

use bip39::{Language, Mnemonic};
use zeroize::Zeroizing;

use crate::key::SecretKey;

/// How many words there are.
const WORDS: usize = 24;

/// Why words are no owner key. The words themselves are not repeated.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum WordsError {
    /// There are more or fewer than 24.
    #[error("there are {0} words where an owner key has {WORDS}")]
    Count(usize),
    /// A word is not on the list.
    #[error("word {0} is not one of the recovery words")]
    Unknown(usize),
    /// All words are on the list, but not these in this order.
    #[error("the words do not fit together: one of them is wrong, or two are swapped")]
    Checksum,
}

/// The words of an owner key, with a space between each two.
#[must_use]
pub fn words_of_owner(owner: &SecretKey) -> Zeroizing<String> {
    // The only error is a length that cannot be expressed, and 32 bytes can.
    let words = Mnemonic::from_entropy_in(Language::English, owner.seed());
    Zeroizing::new(words.map(|words| words.to_string()).unwrap_or_default())
}

/// The owner key with these words. Case and white space do not matter, and the first four letters
/// of a word are enough.
///
/// # Errors
/// [`WordsError`]
pub fn owner_from_words(words: &str) -> Result<SecretKey, WordsError> {
    let count = words.split_whitespace().count();
    if count != WORDS {
        return Err(WordsError::Count(count));
    }
    let mut whole = Zeroizing::new(String::with_capacity(WORDS * 9));
    for (index, word) in words.split_whitespace().enumerate() {
        let (_, word) = find_word(word).ok_or(WordsError::Unknown(index + 1))?;
        whole.push_str(word);
        whole.push(' ');
    }
    let words = Mnemonic::parse_in_normalized(Language::English, &whole)
        .map_err(|_| WordsError::Checksum)?;
    let (entropy, _) = words.to_entropy_array();
    let entropy = Zeroizing::new(entropy);
    let seed = entropy.first_chunk().ok_or(WordsError::Checksum)?;
    Ok(SecretKey::from_seed(seed))
}

/// A word of the list and its number, by the whole of it or by at least its first four letters,
/// in any case. No two words of the list begin with the same four.
pub(super) fn find_word(typed: &str) -> Option<(u16, &'static str)> {
    const TELLING_LETTERS: usize = 4;
    let typed = Zeroizing::new(typed.to_ascii_lowercase());
    let list = Language::English.word_list();
    let at = match list.binary_search(&typed.as_str()) {
        Ok(at) => at,
        Err(at) if typed.len() >= TELLING_LETTERS => at,
        Err(_) => return None,
    };
    let word = list.get(at).filter(|word| word.starts_with(typed.as_str()))?;
    Some((u16::try_from(at).ok()?, word))
}

/// The word with a number. Only the lowest 11 bits of it count.
pub(super) fn word(number: u16) -> &'static str {
    let at = usize::from(number & MAX_WORD);
    Language::English.word_list().get(at).copied().unwrap_or_default()
}

/// The number of the last word.
pub(super) const MAX_WORD: u16 = 0x7ff;
