//! One phase as `underdog train` runs it: everything from settings.

use crate::session::{
    Context, Error, Models, Source,
    folder::{self, Standing},
    phase::{self, Trained},
};
use crate::{data::curriculum, report::Event, settings::Config};

/// Trains the phase that `config` describes; `None` if it is finished already.
///
/// # Errors
/// Whatever is wrong with the user's files, before any work; whatever stops the phase.
pub fn single(context: &mut Context<'_>, config: &Config) -> Result<Option<Trained>, Error> {
    let out = config.out()?;
    if folder::standing(config, config.resume)? == Standing::Finished {
        context.report.event(&Event::Note(&format!("{} is finished already", out.display())))?;
        return Ok(None);
    }
    let strong = Source::of(config)?;
    let dataset = phase::dataset(context.report, config, &strong.tokenizer, strong.config.vocab)?;
    let rows = config.weights.as_deref().map(curriculum::read_curriculum).transpose()?;
    let order = phase::choose_order(config, &dataset.examples, rows.as_deref())?;
    let models = Models::open(context, config, &strong)?;
    let (name, examples) = (config.method.to_string(), &dataset.examples);
    phase::train(context, config, &name, &strong, &models, examples, order, out, config.written(), config.resume)
        .map(Some)
}
