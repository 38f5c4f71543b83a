//! One phase as `underdog train` runs it: everything from settings.

use crate::{
    report::Event,
    session::{self, Context, Directory, Error, Models, Source, State, Trained, Training},
    settings::Config,
};

/// Trains the phase that `config` describes; `None` if it is finished already.
///
/// # Errors
/// Whatever is wrong with the user's files, before any work; whatever stops the phase.
pub fn single(context: &mut Context<'_>, config: &Config) -> Result<Option<Trained>, Error> {
    let out = config.out()?;
    let mut directory = Directory::open(config, config.resume, &[])?;
    if directory.state() == State::Finished {
        context.report.event(&Event::Note(&format!("{} is finished already", out.display())))?;
        return Ok(None);
    }
    let main = &Source::of(config)?;
    let examples = &session::dataset(context.report, config, &main.tokenizer, main.config.vocab)?.examples;
    let order = session::order(config, examples)?;
    let models = &Models::open(context, config, main)?;
    let (name, dtype) = (&config.method.to_string(), config.written());
    Training { config, name, main, models, examples, order, out, dtype }.run(context, &mut directory).map(Some)
}
