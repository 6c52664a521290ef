//! Tokens: who may ask from elsewhere, by a secret that they hold. Pure.

use super::role::Role;
use sha2::{Digest, Sha256};
use std::fmt;
use std::hint::black_box;

/// A shorter token could be guessed.
const SHORTEST: usize = 32;

/// A longer one isn't looked at.
const LONGEST: usize = 4096;

/// The longest name.
const LONGEST_NAME: usize = 64;

/// Those that a daemon knows, by their digests alone.
#[derive(Clone, PartialEq, Eq)]
pub(super) struct Tokens(Vec<Token>);

/// One of them.
#[derive(Clone, PartialEq, Eq)]
pub(super) struct Token {
    pub(super) role: Role,
    pub(super) name: String,
    digest: [u8; 32],
}

impl fmt::Debug for Tokens {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.0.iter().map(|token| (&token.name, token.role))).finish()
    }
}

impl Tokens {
    /// The lines of a file: `ROLE:NAME:TOKEN`, or `ROLE:NAME:sha256:DIGEST` with the token's digest in hexadecimal. What stands
    /// behind a `#` at the beginning of a line is a comment. No message shows a token.
    pub(super) fn parse(text: &str) -> Result<Self, String> {
        let mut all: Vec<Token> = Vec::new();
        for (number, line) in (1..).zip(text.lines()) {
            let line = line.trim();
            if line.is_empty() || line.starts_with('#') {
                continue;
            }
            let token = Token::parse(line).map_err(|why| format!("line {number}: {why}"))?;
            if all.iter().any(|other| other.name == token.name) {
                return Err(format!("line {number}: the name `{}` is there twice", token.name));
            }
            if let Some(other) = all.iter().find(|other| other.digest == token.digest) {
                let message = format!("this is the token of `{}` too", other.name);
                return Err(format!("line {number}: {message}"));
            }
            all.push(token);
        }
        if all.is_empty() {
            return Err("there is no token in it (write `ROLE:NAME:TOKEN`)".to_owned());
        }
        Ok(Self(all))
    }

    /// Whether this one is still as it was.
    pub(super) fn holds(&self, token: &Token) -> bool {
        self.0.contains(token)
    }

    /// The one that this is. It takes the same time whichever it is, and for a wrong one.
    pub(super) fn find(&self, given: &[u8]) -> Option<&Token> {
        if given.len() > LONGEST {
            return None;
        }
        let given: [u8; 32] = Sha256::digest(given).into();
        let mut found = None;
        for token in &self.0 {
            let differences = given.iter().zip(token.digest).map(|(one, other)| one ^ other);
            if black_box(differences.fold(0, |all, one| all | one)) == 0 {
                found = Some(token);
            }
        }
        found
    }
}

impl Token {
    fn parse(line: &str) -> Result<Self, String> {
        let form = "write `ROLE:NAME:TOKEN`, the role `read`, `operate` or `admin`";
        let mut parts = line.splitn(3, ':');
        let mut part = || parts.next().ok_or(form);
        let (role, name, secret) = (part()?, part()?, part()?);
        let role = Role::of_word(role).ok_or(form)?;
        let plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.');
        if name.is_empty() || name.len() > LONGEST_NAME || !name.chars().all(plain) {
            let message = "a token's name has letters, digits, `-`, `_` and `.`";
            return Err(format!("{message}, {LONGEST_NAME} at most"));
        }
        let digest = match secret.strip_prefix("sha256:") {
            Some(digest) => bytes(digest).ok_or("a digest has 64 digits, in hexadecimal")?,
            None if !secret.bytes().all(|byte| byte.is_ascii_graphic()) => {
                return Err("a token has letters, digits and signs of ASCII alone".to_owned());
            }
            None if !(SHORTEST..=LONGEST).contains(&secret.len()) => {
                let message = format!("a token has {SHORTEST} to {LONGEST} characters");
                return Err(format!("{message} (`openssl rand -hex 32` makes one)"));
            }
            None => Sha256::digest(secret).into(),
        };
        Ok(Self { role, name: name.to_owned(), digest })
    }
}

/// The bytes of a digest.
fn bytes(text: &str) -> Option<[u8; 32]> {
    if text.len() != 64 || !text.bytes().all(|byte| byte.is_ascii_hexdigit()) {
        return None;
    }
    let mut bytes = [0; 32];
    for (at, byte) in bytes.iter_mut().enumerate() {
        *byte = u8::from_str_radix(text.get(2 * at..2 * at + 2)?, 16).ok()?;
    }
    Some(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    const ONE: &str = "0123456789abcdef0123456789abcdef";
    const OTHER: &str = "an-other-token-that-is-long-enough:and-more";

    #[test]
    fn a_token_is_known_by_itself_or_by_its_digest() {
        let digest: String =
            Sha256::digest(OTHER).iter().map(|byte| format!("{byte:02X}")).collect();
        let text = format!("# who asks\nread:prometheus:{ONE}\n\nadmin:ci:sha256:{digest}\n");
        let tokens = Tokens::parse(&text).unwrap();
        let found = |given: &str| {
            tokens.find(given.as_bytes()).map(|token| (token.name.as_str(), token.role))
        };
        assert_eq!(found(ONE), Some(("prometheus", Role::Read)));
        assert_eq!(found(OTHER), Some(("ci", Role::Admin)));
        for wrong in ["", &ONE[1..], &digest, &format!("{ONE} "), &"x".repeat(LONGEST + 1)] {
            assert_eq!(found(wrong), None, "{wrong}");
        }
        assert_eq!(format!("{tokens:?}"), r#"[("prometheus", Read), ("ci", Admin)]"#);
    }

    #[test]
    fn a_wrong_line_is_told_by_its_number_and_without_the_token() {
        let told = |text: &str| Tokens::parse(text).unwrap_err();
        insta::assert_snapshot!(told("\n# nobody\n"), @"there is no token in it (write `ROLE:NAME:TOKEN`)");
        insta::assert_snapshot!(told("owner:x:y"), @"line 1: write `ROLE:NAME:TOKEN`, the role `read`, `operate` or `admin`");
        insta::assert_snapshot!(told("\nread:x"), @"line 2: write `ROLE:NAME:TOKEN`, the role `read`, `operate` or `admin`");
        insta::assert_snapshot!(told(&format!("read:a b:{ONE}")), @"line 1: a token's name has letters, digits, `-`, `_` and `.`, 64 at most");
        insta::assert_snapshot!(told("read:x:secret"), @"line 1: a token has 32 to 4096 characters (`openssl rand -hex 32` makes one)");
        insta::assert_snapshot!(told(&format!("read:x:{ONE} {ONE}")), @"line 1: a token has letters, digits and signs of ASCII alone");
        insta::assert_snapshot!(told(&format!("read:x:sha256:{ONE}")), @"line 1: a digest has 64 digits, in hexadecimal");
        insta::assert_snapshot!(told(&format!("read:x:{ONE}\nread:x:{OTHER}")), @"line 2: the name `x` is there twice");
        insta::assert_snapshot!(told(&format!("read:x:{ONE}\nadmin:y:{ONE}")), @"line 2: this is the token of `x` too");
    }
}
