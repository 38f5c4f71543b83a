//! The published tasks, and what a problem of one is.

use std::str::FromStr;

use super::error::Error;
use crate::choice::Choice as _;

crate::choice::choices! {
    /// A published task.
    pub enum Task {
    /// Grade-school word problems, test split: Cobbe et al. 2021, arXiv 2110.14168.
    Gsm8k = "gsm8k",
    /// Word problems varied to catch shallow solvers: Patel et al. 2021, arXiv 2103.07191.
    Svamp = "svamp",
    /// The 500 problems of MATH (Hendrycks et al. 2021) that Lightman et al. 2023, arXiv 2305.20050, tested on.
    Math500 = "math500",
    /// The American Invitational Mathematics Examination of one year: both papers, 30 answers from 0 to 999.
    Aime = "aime",
    /// The 40 problems of the American Mathematics Competitions 12 of 2023 with a whole number as answer.
    Amc = "amc",
    /// Multiple choice with rationales, test split: Ling et al. 2017, arXiv 1705.04146.
    Aqua = "aqua",
    /// MAWPS (Koncel-Kedziorski et al. 2016), the 238 problems of the usual test split.
    Mawps = "mawps",
    /// Function bodies from docstrings: Chen et al. 2021, arXiv 2107.03374.
    Humaneval = "humaneval",
    /// Functions from one sentence and three assertions: Austin et al. 2021, arXiv 2108.07732. The file has 974
    /// problems, of which ids 11 to 510 are the test split, which the paper, its successors and lm-evaluation-harness
    /// report on; these 500 are evaluated. Ids 2, 3 and 4 are the paper's three examples and come along as
    /// `Loaded::shots`.
    Mbpp = "mbpp",
}
}

impl Task {
    /// How its answers are judged, the rows of its published file, and the worked examples with which figures of base
    /// models are published.
    fn facts(self) -> (Kind, usize, usize) {
        match self {
            Self::Gsm8k => (Kind::Math, 1_319, 5),
            Self::Svamp => (Kind::Math, 1_000, 8),
            Self::Math500 => (Kind::Math, 500, 4),
            Self::Aime => (Kind::Math, 30, 4),
            Self::Amc => (Kind::Math, 40, 4),
            Self::Aqua => (Kind::Choice, 254, 4),
            Self::Mawps => (Kind::Math, 238, 8),
            Self::Humaneval => (Kind::Code, 164, 0),
            Self::Mbpp => (Kind::Code, 974, 3),
        }
    }

    /// How its answers are judged.
    pub fn kind(self) -> Kind {
        self.facts().0
    }

    /// The rows of its published file.
    pub fn published_rows(self) -> usize {
        self.facts().1
    }

    /// Worked examples before a problem, as figures of base models are published.
    pub fn published_shots(self) -> usize {
        self.facts().2
    }
}

impl FromStr for Task {
    type Err = Error;

    fn from_str(name: &str) -> Result<Self, Error> {
        Self::named(name).ok_or_else(|| {
            let names: Vec<_> = Self::ALL.iter().map(|(_, name, _)| *name).collect();
            Error::Argument(format!("there is no task `{name}`; tasks are {}", names.join(", ")))
        })
    }
}

/// How an answer is judged.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// A number or formula.
    Math,
    /// One of several choices.
    Choice,
    /// A program that is run against tests.
    Code,
}

/// One thing to choose.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Choice {
    /// `A`, `B`, ...
    pub letter: String,
    /// What it says.
    pub text: String,
}

/// What a code problem is tested with.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CodeProblem {
    /// The function to write. For MBPP it is the function that the first assertion calls.
    pub entry_point: String,
    /// Python that has to run before the tests.
    pub setup: String,
    /// Assertions, one per entry; for HumanEval one block that defines `check`.
    pub tests: Vec<String>,
}

/// A problem of a task.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Problem {
    /// The file's own id where its ids are unique, else the row from 1.
    pub id: String,
    /// How it is judged.
    pub kind: Kind,
    /// The question without its choices; for HumanEval the code to complete.
    pub question: String,
    /// For multiple choice.
    pub choices: Vec<Choice>,
    /// The gold answer: a number, a formula, a letter. For code the reference program, which no verdict uses.
    pub answer: String,
    /// A worked solution, for use as an example.
    pub solution: Option<String>,
    /// For code.
    pub code: Option<CodeProblem>,
}
