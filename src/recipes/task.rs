//! A published task put to a model: prompts, batched generation, judgement, and a record that a stopped run goes on from.

use std::{
    collections::{HashMap, HashSet},
    path::{Path, PathBuf},
    sync::atomic::Ordering,
    time::Instant,
};

use serde_json::json;

use crate::{
    data::{
        random::StepKey,
        template::{Chat, Moment},
    },
    eval::{
        self, Graded, Problem, Prompt, Style, Task, Verdict,
        grader::{Grader, Question},
        prompt::{Body, Pick},
        record::{Record, Row, Sample, Summary, prompt_sha256},
        sandbox::{self, Sandbox},
        stats,
        task::Kind,
    },
    infer::{Next, Request, Sampling, Slots},
    report::{Event, WarningCode},
    session::{self, Context, Error, Source},
    settings::Config,
};

/// Texts that are generated side by side, if memory allows.
const SIDE_BY_SIDE: usize = 16;

/// How a task is put.
#[derive(Clone, Debug)]
pub struct TaskRun {
    /// Which.
    pub task: Task,
    /// Its problems.
    pub file: PathBuf,
    /// How they are asked; `None`: as fits the model.
    pub style: Option<Style>,
    /// Worked examples before each; `None`: as many as published.
    pub shots: Option<usize>,
    /// Where they are taken from; `None`: from the file itself, if it sets some aside.
    pub shots_file: Option<PathBuf>,
    /// Draw them by the seed, instead of taking the first.
    pub draw_shots: bool,
    /// Texts per problem.
    pub samples: usize,
    /// How tokens are chosen.
    pub sampling: Sampling,
    /// Most tokens of a text.
    pub most: usize,
    /// Only so many problems.
    pub limit: Option<usize>,
    /// Where randomness starts.
    pub seed: u64,
    /// The record.
    pub out: PathBuf,
    /// Whether generated programs may be run.
    pub run_code: bool,
    /// A command that judges answers.
    pub grader: Option<String>,
    /// Seconds that a program or a grader may take.
    pub seconds: u32,
}

/// Who judges.
enum Judge {
    Answers,
    Programs(Sandbox),
    Command(Grader),
}

/// A problem with what it is asked with.
struct Asked {
    problem: Problem,
    prompt: Prompt,
    ids: Vec<u32>,
}

/// Runs what the record does not hold yet, and sums up.
///
/// # Errors
/// Whatever is wrong with files or flags, before any text is generated; whatever stops a run: what is judged stays.
pub fn task(context: &mut Context<'_>, config: &Config, run: &TaskRun) -> Result<Summary, Error> {
    let source = Source::of(config)?;
    let loaded = eval::task::load(run.task, &run.file)?;
    if let Some(other) = loaded.other_count {
        let text = format!("{}: {other}", run.file.display());
        context.report.event(&Event::Warning { code: WarningCode::Task, text: &text })?;
    }
    let style = run.style.unwrap_or_else(|| Style::default_for(source.tokenizer.has_chat_template()));
    let shots = shots(run, style, &loaded.shots)?;
    let judge = judge(context, run)?;
    let most = run.limit.unwrap_or(usize::MAX);
    let asked: Vec<Asked> = loaded
        .problems
        .into_iter()
        .take(most)
        .map(|problem| ask(&source, run, problem, &shots, style))
        .collect::<Result<_, _>>()?;
    let settings = json!({
        "task": run.task,
        "model": source.path,
        "weights": source.fingerprint()?,
        "style": style,
        "shots": shots.iter().map(|shot| shot.id.as_str()).collect::<Vec<_>>(),
        "shots_file": run.shots_file,
        "samples": run.samples,
        "temperature": run.sampling.temperature,
        "top_k": run.sampling.top_k,
        "top_p": run.sampling.top_p,
        "max_new_tokens": run.most,
        "seed": run.seed,
        "grader": run.grader,
    });
    let (record, done) = Record::open(&run.out, &settings)?;
    check_same_problems(run, &asked, &done)?;
    let rows = Session { context, config, run, style, source: &source, judge, record }.finish(&asked, done)?;
    Ok(Summary::new(&run.task.to_string(), &rows, stats::RESAMPLES, run.seed)?)
}

/// A record goes on only with the problems it was begun with.
fn check_same_problems(run: &TaskRun, asked: &[Asked], done: &[Row]) -> Result<(), Error> {
    let asked: HashMap<&str, &Asked> = asked.iter().map(|asked| (asked.problem.id.as_str(), asked)).collect();
    let is_same = |row: &&Row| {
        asked.get(row.id.as_str()).is_none_or(|asked| {
            row.prompt_sha256 == prompt_sha256(&asked.prompt.text()) && row.gold == asked.problem.answer
        })
    };
    match done.iter().find(|row| !is_same(row)) {
        None => Ok(()),
        Some(row) => Err(Error::User(format!(
            "{}: problem `{}` was asked in other words or had another answer: {} or its worked examples have changed; \
             choose another --out",
            run.out.display(),
            row.id,
            run.file.display()
        ))),
    }
}

fn shots(run: &TaskRun, style: Style, own: &[Problem]) -> Result<Vec<Problem>, Error> {
    let count = run.shots.unwrap_or_else(|| style.default_shots(run.task));
    if count == 0 {
        return Ok(Vec::new());
    }
    let from = match &run.shots_file {
        Some(file) => eval::task::load_shots(run.task, file)?,
        None if own.len() >= count => own.to_vec(),
        None => {
            return Err(Error::User(format!(
                "{} is asked after {count} worked examples; give a file of them, such as the training split, with \
                 --shots-file, or say --shots 0",
                run.task
            )));
        }
    };
    let pick = if run.draw_shots { Pick::Seeded(run.seed) } else { Pick::First };
    Ok(eval::prompt::pick_shots(&from, count, pick)?)
}

fn judge(context: &mut Context<'_>, run: &TaskRun) -> Result<Judge, Error> {
    if let Some(line) = &run.grader {
        return Ok(Judge::Command(Grader::command(line, run.seconds)?));
    }
    if run.task.kind() != Kind::Code {
        return Ok(Judge::Answers);
    }
    if !run.run_code {
        return Err(Error::User(format!(
            "{} is judged by running what the model writes; consent with --run-code, and it is run shut in: no network, no \
             files, bounded time and memory",
            run.task
        )));
    }
    let sandbox = Sandbox::find(sandbox::Limits { seconds: run.seconds, ..sandbox::Limits::default() })?;
    context.report.event(&Event::Note(&format!("programs run in {}", sandbox.describe())))?;
    Ok(Judge::Programs(sandbox))
}

fn ask(source: &Source, run: &TaskRun, problem: Problem, shots: &[Problem], style: Style) -> Result<Asked, Error> {
    let prompt = eval::prompt::prompt(run.task, &problem, shots, style)?;
    let ids = match &prompt.body {
        Body::Text(text) => source.tokenizer.encode_prefix(text)?,
        Body::Messages(messages) => {
            let messages: Vec<_> = messages.iter().map(|m| json!({ "role": m.role, "content": m.content })).collect();
            let chat = Chat {
                messages: &messages,
                tools: None,
                add_generation_prompt: true,
                extra: None,
                now: Moment::now(),
            };
            let rendered = source.tokenizer.chat_template(false)?.render(chat)?;
            source.tokenizer.encode(&rendered.text, false)?
        }
    };
    if ids.is_empty() {
        let (file, id) = (run.file.display(), &problem.id);
        return Err(Error::User(format!("{file}: problem {id} has no tokens to ask with; mend or remove it")));
    }
    match ids.iter().find(|id| **id as usize >= source.config.vocab) {
        Some(id) => {
            Err(Error::User(format!("the tokenizer gives token {id}, the model has {} of them", source.config.vocab)))
        }
        None => Ok(Asked { problem, prompt, ids }),
    }
}

struct Session<'a, 'c> {
    context: &'a mut Context<'c>,
    config: &'a Config,
    run: &'a TaskRun,
    style: Style,
    source: &'a Source,
    judge: Judge,
    record: Record,
}

impl Session<'_, '_> {
    /// Generates and judges what is not done; the rows of all problems, those done first.
    fn finish(mut self, asked: &[Asked], done: Vec<Row>) -> Result<Vec<Row>, Error> {
        let known: HashSet<&str> = done.iter().map(|row| row.id.as_str()).collect();
        let open: Vec<(usize, &Asked)> =
            asked.iter().enumerate().filter(|(_, a)| !known.contains(a.problem.id.as_str())).collect();
        let wanted: HashSet<&str> = asked.iter().map(|a| a.problem.id.as_str()).collect();
        let mut rows: Vec<Row> = done.into_iter().filter(|row| wanted.contains(row.id.as_str())).collect();
        let name = format!("eval {}", self.run.task);
        let total = asked.len() as u64;
        let started = Event::PhaseStarted { name: &name, unit: "problem", total, done: rows.len() as u64 };
        self.context.report.event(&started)?;
        let began = Instant::now();
        if let Some(longest) = open.iter().map(|(_, a)| a.ids.len()).max() {
            let capacity = longest + self.run.most;
            let made_for = self.source.config.max_positions;
            if capacity > made_for {
                let text = format!("texts may reach {capacity} tokens; the model was made for {made_for}");
                self.context.report.event(&Event::Warning { code: WarningCode::Task, text: &text })?;
            }
            let wanted = SIDE_BY_SIDE.min(open.len() * self.run.samples);
            let mut slots = session::slots(self.context, self.config, self.source, wanted, capacity)?;
            let together = (slots.count() / self.run.samples).max(1);
            for group in open.chunks(together) {
                rows.extend(self.group(&mut slots, group, rows.len())?);
            }
        }
        let correct: usize = rows.iter().map(|row| row.c).sum();
        let texts: usize = rows.iter().map(|row| row.n).sum();
        let summary = format!("{correct} of {texts} correct");
        let seconds = began.elapsed().as_secs_f64();
        self.context.report.event(&Event::PhaseFinished { name: &name, seconds, summary: &summary })?;
        Ok(rows)
    }

    /// Some problems, all of whose samples are generated together as far as there are slots.
    fn group(&mut self, slots: &mut Slots<'_>, group: &[(usize, &Asked)], done: usize) -> Result<Vec<Row>, Error> {
        let started = Instant::now();
        let requests: Vec<(&Asked, Request)> = group
            .iter()
            .flat_map(|&(number, asked)| {
                let key = StepKey::new(self.run.seed, number as u64);
                let (sampling, most) = (self.run.sampling, self.run.most);
                let request = move |sample| {
                    let seed = u64::from(key.token(sample, 0));
                    Request { prompt: asked.ids.clone(), seed, sampling, most }
                };
                (0..self.run.samples).map(move |sample| (asked, request(sample)))
            })
            .collect();
        let (texts, tokens) = self.texts(slots, &requests)?;
        let mut texts = texts.into_iter();
        let mut rows = Vec::new();
        for (_, asked) in group {
            let own = texts.by_ref().take(self.run.samples);
            let samples = own.map(|text| self.judged(asked, text)).collect();
            let gold = asked.problem.answer.clone();
            let row = Row::new(asked.problem.id.clone(), &asked.prompt.text(), gold, samples);
            self.record.write(&row)?;
            rows.push(row);
        }
        let seconds = started.elapsed().as_secs_f64();
        self.context.report.event(&Event::Progress { done: (done + rows.len()) as u64, tokens, seconds })?;
        Ok(rows)
    }

    /// The texts of some requests, and how many tokens they took.
    fn texts(&mut self, slots: &mut Slots<'_>, requests: &[(&Asked, Request)]) -> Result<(Vec<String>, u64), Error> {
        let tokenizer = &self.source.tokenizer;
        let ends = tokenizer.eos_ids();
        let mut streams: Vec<_> = requests.iter().map(|_| tokenizer.stream(true)).collect();
        let mut texts = vec![String::new(); requests.len()];
        let mut failed = None;
        let stop = self.context.stop;
        let own: Vec<Request> = requests.iter().map(|(_, request)| request.clone()).collect();
        let written = slots.generate(&own, ends, |i, token| {
            if stop.load(Ordering::Relaxed) {
                return Next::Stop;
            }
            if ends.contains(&token) {
                return Next::End;
            }
            match streams[i].push(token) {
                Ok(piece) => texts[i] += &piece,
                Err(error) => {
                    failed = Some(error);
                    return Next::Stop;
                }
            }
            let stops = &requests[i].0.prompt.stop;
            let ended = stops.iter().any(|stop| ends_with_recent(&texts[i], stop));
            if ended { Next::End } else { Next::More }
        })?;
        if let Some(error) = failed {
            return Err(error.into());
        }
        if stop.load(Ordering::Relaxed) {
            let file = self.run.out.display();
            return Err(Error::Interrupted(format!("; {file} holds what is judged so far")));
        }
        for (text, stream) in texts.iter_mut().zip(streams) {
            *text += &stream.finish()?;
        }
        for (text, (asked, _)) in texts.iter_mut().zip(requests) {
            *text = eval::code::cut(text, &asked.prompt.stop).to_owned();
        }
        Ok((texts, written.iter().map(|ids| ids.len() as u64).sum()))
    }

    fn judged(&self, asked: &Asked, text: String) -> Sample {
        let graded = match &self.judge {
            Judge::Answers => eval::answer::grade(&asked.problem, &text),
            Judge::Programs(sandbox) => {
                let verdict = match eval::code::program(&asked.problem, self.style, &text) {
                    Err(_) => Verdict::Wrong,
                    Ok(program) => match sandbox.run_python(&program) {
                        Ok(sandbox::Outcome::Passed) => Verdict::Correct,
                        Ok(_) => Verdict::Wrong,
                        Err(error) => Verdict::Undecided(error.to_string()),
                    },
                };
                Graded { extracted: None, verdict }
            }
            Judge::Command(grader) => {
                let extracted = eval::answer::grade(&asked.problem, &text).extracted;
                let Problem { id, question, answer: gold, .. } = &asked.problem;
                let question = Question { id, question, gold, answer: extracted.as_deref(), text: &text };
                let verdict = grader.grade(&question);
                Graded { extracted, verdict }
            }
        };
        Sample::new(text, graded)
    }
}

/// Whether `stop` has come up at the end of `text`, where the last token may reach beyond it.
fn ends_with_recent(text: &str, stop: &str) -> bool {
    const LONGEST_TOKEN: usize = 256;
    let mut from = text.len().saturating_sub(stop.len() + LONGEST_TOKEN);
    while !text.is_char_boundary(from) {
        from -= 1;
    }
    text[from..].contains(stop)
}

/// The record's default name, beside nothing of the user's.
pub fn default_record(task: Task, model: &Path) -> PathBuf {
    let name = model.file_name().map_or_else(|| "model".into(), |name| name.to_string_lossy());
    PathBuf::from(format!("{task}-{name}.jsonl"))
}
