//! Names, folders and addresses of peers. Lengths are in UTF-16 units, as in JavaScript.

/// Most peers a roster holds.
pub const MAX_PEERS: usize = 1024;
/// Longest folder of a peer, in UTF-16 units.
pub const MAX_CWD_UNITS: usize = 4096;
/// Longest name of a peer, in UTF-16 units.
pub const MAX_NAME_UNITS: usize = 256;
/// Longest address, in UTF-16 units.
pub const MAX_ADDRESS_UNITS: usize = 4352;
/// The largest number a name gets when it is taken: `api#999`.
pub const MAX_SUFFIX: u32 = 999;

/// The router's own address.
pub const BROKER: &str = "broker";
/// The destination that means everybody in the sender's folder.
pub const BROADCAST: &str = "broadcast";
/// Whom the answer to an unregistered connection is addressed to.
pub const OBSERVER: &str = "observer";

/// The name of a peer whose own name has nothing left.
const FALLBACK_NAME: &str = "agent";
/// Names that would let a peer pose as part of the mesh, compared ignoring case. The last two
/// speak for another machine's router and for the relay.
const RESERVED_NAMES: [&str; 4] = [BROKER, BROADCAST, "_broker_remote", "_relay"];

/// Length as JavaScript counts it.
#[must_use]
pub fn utf16_units(text: &str) -> usize {
    text.chars().map(char::len_utf16).sum()
}

/// The white space of JavaScript's `trim` and `\s`: it has U+FEFF and lacks U+0085, where
/// `char::is_whitespace` has it the other way round.
#[must_use]
pub fn is_javascript_whitespace(character: char) -> bool {
    character == '\u{feff}' || (character.is_whitespace() && character != '\u{85}')
}

fn ends_a_line_in_javascript(character: char) -> bool {
    matches!(character, '\n' | '\r' | '\u{2028}' | '\u{2029}')
}

/// The name a peer gets for the name it asked for.
///
/// White space and the characters that addresses are made of (`/ : @ #`) become hyphens; a `#`
/// with digits at the end is kept. An empty or reserved name becomes `agent`.
#[must_use]
pub fn sanitise_name(requested: &str) -> String {
    let (base, suffix) = if requested.contains(ends_a_line_in_javascript) {
        (requested, "")
    } else {
        split_suffix(requested)
    };
    let mut name = String::with_capacity(requested.len());
    for character in base.trim_matches(is_javascript_whitespace).chars() {
        let separates =
            matches!(character, '/' | ':' | '@' | '#' | '-') || is_javascript_whitespace(character);
        if !separates {
            name.push(character);
        } else if !name.ends_with('-') {
            name.push('-');
        }
    }
    let name = name.trim_matches('-');
    let lower = name.to_lowercase();
    let name = if name.is_empty() || RESERVED_NAMES.contains(&lower.as_str()) {
        FALLBACK_NAME
    } else {
        name
    };
    format!("{name}{suffix}")
}

/// Splits `api#2` into `api` and `#2`; the second part is empty when the name has no number.
#[must_use]
pub fn split_suffix(name: &str) -> (&str, &str) {
    match name.rsplit_once('#') {
        Some((base, digits))
            if !digits.is_empty() && digits.bytes().all(|byte| byte.is_ascii_digit()) =>
        {
            name.split_at(base.len())
        }
        _ => (name, ""),
    }
}

/// The routing key of a peer: `cwd@name`, or the name alone when the folder is empty.
#[must_use]
pub fn compose_address(cwd: &str, name: &str) -> String {
    if cwd.is_empty() { name.to_owned() } else { format!("{cwd}@{name}") }
}

/// Whether a peer may register with this folder: empty (a peer without one), or absolute, of at
/// most [`MAX_CWD_UNITS`] and free of NUL, CR and LF.
#[must_use]
pub fn is_valid_cwd(cwd: &str) -> bool {
    let slash = |character: Option<char>| matches!(character, Some('/' | '\\'));
    let absolute = cwd.starts_with('/')
        || is_drive_path(cwd)
        || (slash(cwd.chars().next()) && slash(cwd.chars().nth(1)));
    cwd.is_empty()
        || (absolute && !cwd.contains(['\0', '\r', '\n']) && utf16_units(cwd) <= MAX_CWD_UNITS)
}

/// Whether the text starts as a Windows path does: a letter, a colon, a slash of either kind.
#[must_use]
pub fn is_drive_path(text: &str) -> bool {
    matches!(
        text.as_bytes(),
        [letter, b':', b'/' | b'\\', ..] if letter.is_ascii_alphabetic()
    )
}

/// The text before the first colon, where a machine's alias would stand, and what follows.
/// `None` when either side is empty.
#[must_use]
pub fn split_alias(destination: &str) -> Option<(&str, &str)> {
    destination.split_once(':').filter(|(alias, rest)| !alias.is_empty() && !rest.is_empty())
}

/// What a peer asks for when it registers.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Register {
    /// As it was sent; sanitised when an address is assigned.
    pub name: String,
    /// Empty for a peer without a folder.
    pub cwd: String,
    /// Whether it replaces a peer of the same folder and name.
    pub takeover: bool,
}

/// What a peer gets when it registers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Assignment {
    /// The routing key.
    pub address: String,
    /// The name with its number, if it got one.
    pub name: String,
    /// Whether the peer that has this address is to be removed first.
    pub evicts: bool,
}

/// Why a peer is not let in. The connection is closed without a word.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// See [`is_valid_cwd`].
    #[error(
        "the folder is not absolute, is longer than {MAX_CWD_UNITS} UTF-16 units or holds a control character"
    )]
    Cwd,
    /// Longer than [`MAX_NAME_UNITS`].
    #[error("the name is longer than {MAX_NAME_UNITS} UTF-16 units")]
    NameTooLong,
    /// Longer than [`MAX_ADDRESS_UNITS`].
    #[error("the address is longer than {MAX_ADDRESS_UNITS} UTF-16 units")]
    AddressTooLong,
    /// The roster holds as many peers as it may.
    #[error("the mesh already has {0} peers")]
    Full(usize),
    /// The name and all its numbers are taken.
    #[error("the name is taken, up to #{MAX_SUFFIX}")]
    NoFreeSuffix,
}

/// Finds the address of a new peer. `is_taken` tells whether a peer has an address, `peers` how
/// many there are, `most_peers` how many there may be.
///
/// # Errors
/// When the peer is not let in; then nobody may be evicted either.
pub fn assign_address(
    request: &Register,
    peers: usize,
    most_peers: usize,
    is_taken: impl Fn(&str) -> bool,
) -> Result<Assignment, Refusal> {
    if !is_valid_cwd(&request.cwd) {
        return Err(Refusal::Cwd);
    }
    let name = sanitise_name(&request.name);
    let assignment = bounded_assignment(&request.cwd, name)?;
    let taken = is_taken(&assignment.address);
    if taken && request.takeover && !request.cwd.is_empty() {
        return Ok(Assignment { evicts: true, ..assignment });
    }
    if peers >= most_peers {
        return Err(Refusal::Full(most_peers));
    }
    if !taken {
        return Ok(assignment);
    }
    let (base, _) = split_suffix(&assignment.name);
    for number in 2..=MAX_SUFFIX {
        let numbered = bounded_assignment(&request.cwd, format!("{base}#{number}"))?;
        if !is_taken(&numbered.address) {
            return Ok(numbered);
        }
    }
    Err(Refusal::NoFreeSuffix)
}

fn bounded_assignment(cwd: &str, name: String) -> Result<Assignment, Refusal> {
    if utf16_units(&name) > MAX_NAME_UNITS {
        return Err(Refusal::NameTooLong);
    }
    let address = compose_address(cwd, &name);
    if utf16_units(&address) > MAX_ADDRESS_UNITS {
        return Err(Refusal::AddressTooLong);
    }
    Ok(Assignment { address, name, evicts: false })
}

/// The agent name of a folder's configuration file as it is used today: old versions saved
/// `parent/folder` and numbers. `None` when nothing remains.
#[must_use]
pub fn migrate_configured_name(saved: &str) -> Option<String> {
    let leaf = saved.rsplit('/').next().unwrap_or_default();
    let (base, _) = split_suffix(leaf);
    (!base.is_empty()).then(|| base.to_owned())
}

/// The name of an agent nobody named: the last component of its folder, or `agent`.
#[must_use]
pub fn default_name(cwd: &str) -> &str {
    cwd.trim_end_matches('/')
        .rsplit('/')
        .next()
        .filter(|leaf| !leaf.is_empty())
        .unwrap_or(FALLBACK_NAME)
}
