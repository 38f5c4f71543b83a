//! An example as text, for eyes: which parts are trained.

use super::dataset::Example;
use super::error::Error;
use super::tokenizer::Tokenizer;

/// Some tokens' text.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Piece {
    /// The text, special tokens included.
    pub text: String,
    /// Whether it is trained.
    pub trained: bool,
}

/// The texts of an example's tokens in order. Tokens that only together make a character give one piece; it counts as
/// trained when its last token is.
pub fn pieces(tokenizer: &Tokenizer, example: &Example) -> Result<Vec<Piece>, Error> {
    let mut stream = tokenizer.stream(false);
    let mut pieces = Vec::new();
    for (&id, &trained) in example.ids.iter().zip(&example.trained) {
        let text = stream.push(id)?;
        if !text.is_empty() {
            pieces.push(Piece { text, trained });
        }
    }
    let text = stream.finish()?;
    if !text.is_empty() {
        pieces.push(Piece { text, trained: example.trained.last().copied().unwrap_or(false) });
    }
    Ok(pieces)
}
