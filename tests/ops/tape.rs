//! The reverse walk: shared gradients, tensors used many times, recomputed segments, frozen branches.

use underdog::graph::{
    ops,
    plan::Plan,
    tape::Tape,
    tensor::{Role, Store, Tensor},
};

use crate::{
    check::{Case, Cases, Oracle},
    common::{Input, Mat, Rng, run},
    linear::{matmul_nn, matmul_nt, matmul_tn},
};

/// A node of a graph of ops over earlier tensors.
#[derive(Clone, Copy, Debug)]
enum Node {
    Add(usize, usize),
    /// Times the transposed weight.
    Linear(usize),
}

/// Inputs: x `[3, 4]`, another `[3, 4]`, W `[4, 4]`. Tensor 0 and 1 are the first two; node i makes tensor i + 2; the
/// value is the last.
#[derive(Debug)]
struct Graph {
    nodes: Vec<Node>,
    /// Nodes from the first to before the second are one recomputed segment.
    segment: Option<(usize, usize)>,
}

impl Graph {
    fn values(&self, x: &[Mat]) -> Vec<Mat> {
        let mut values = x[..2].to_vec();
        for node in &self.nodes {
            values.push(match *node {
                Node::Add(a, b) => plus(&values[a], &values[b]),
                Node::Linear(a) => matmul_nt(&values[a], &x[2]),
            });
        }
        values
    }

    fn record(&self, tape: &mut Tape, x: &[Tensor]) -> Tensor {
        let mut tensors = x[..2].to_vec();
        let mut at = 0;
        while at < self.nodes.len() {
            match self.segment.filter(|(first, _)| *first == at) {
                Some((first, last)) => {
                    tape.recompute(|tape| {
                        self.nodes[first..last].iter().for_each(|node| record(tape, *node, &mut tensors, x[2]));
                        tensors[last + 1]
                    });
                    at = last;
                }
                None => {
                    record(tape, self.nodes[at], &mut tensors, x[2]);
                    at += 1;
                }
            }
        }
        tensors[tensors.len() - 1]
    }
}

fn record(tape: &mut Tape, node: Node, tensors: &mut Vec<Tensor>, weight: Tensor) {
    let y = match node {
        Node::Add(a, b) => ops::add(tape, tensors[a], tensors[b]),
        Node::Linear(a) => ops::linear(tape, tensors[a], weight, None),
    };
    tensors.push(y);
}

fn plus(a: &Mat, b: &Mat) -> Mat {
    Mat::new(a.rows, a.cols, a.data.iter().zip(&b.data).map(|(a, b)| a + b).collect())
}

impl Oracle for Graph {
    fn forward(&self, x: &[Mat]) -> Mat {
        self.values(x).pop().expect("a value")
    }

    fn backward(&self, x: &[Mat], dy: &Mat) -> Vec<Mat> {
        let values = self.values(x);
        let mut gradients = vec![Mat::zeros(dy.rows, dy.cols); values.len()];
        let mut dw = Mat::zeros(4, 4);
        gradients[values.len() - 1] = dy.clone();
        for (i, node) in self.nodes.iter().enumerate().rev() {
            let dy = gradients[i + 2].clone();
            match *node {
                Node::Add(a, b) => {
                    gradients[a] = plus(&gradients[a], &dy);
                    gradients[b] = plus(&gradients[b], &dy);
                }
                Node::Linear(a) => {
                    gradients[a] = plus(&gradients[a], &matmul_nn(&dy, &x[2]));
                    dw = plus(&dw, &matmul_tn(&dy, &values[a]));
                }
            }
        }
        gradients.truncate(2);
        gradients.push(dw);
        gradients
    }
}

fn check(cases: &mut Cases, name: &str, graph: &Graph) {
    let mut rng = Rng(graph.nodes.len() as u64);
    let x = [rng.mat(3, 4, 0.0, 1.0), rng.mat(3, 4, 0.0, 1.0), rng.mat(4, 4, 0.0, 0.5)];
    let case = Case {
        name: format!("{name}: {graph:?}"),
        oracle: graph,
        indices: Vec::new(),
        seeds_itself: None,
        record: &|tape, x, _| graph.record(tape, x),
    };
    cases.check(&case, &x);
}

/// A few adds and products of 4 terms each: rounding grows by less than 1e-6.
const TOLERANCE: f64 = 2e-6;

#[test]
fn gradients_that_share_memory() {
    use Node::{Add, Linear};
    let mut cases = Cases::new("tape", TOLERANCE);
    for (name, nodes) in [
        ("x + x", vec![Add(0, 0)]),
        ("x + f(x)", vec![Linear(0), Add(0, 2)]),
        ("f(x) + x", vec![Linear(0), Add(2, 0)]),
        ("three uses", vec![Add(0, 0), Add(2, 0)]),
        ("both inputs, then again", vec![Add(0, 1), Add(2, 1), Add(3, 0)]),
        ("a sum doubled", vec![Add(0, 1), Add(2, 2), Linear(3)]),
        ("doubled twice", vec![Add(0, 0), Add(2, 2), Add(3, 3)]),
        ("two residual blocks", vec![Linear(0), Add(0, 2), Linear(3), Add(3, 4)]),
        (
            "gradient shared, then added to",
            vec![Linear(0), Linear(1), Add(2, 3), Linear(2), Linear(3), Add(4, 5), Add(6, 7)],
        ),
        ("one weight, many uses", vec![Linear(0), Linear(2), Add(2, 3), Linear(4)]),
        ("a branch to nowhere", vec![Linear(0), Linear(1), Add(0, 1)]),
    ] {
        check(&mut cases, name, &Graph { nodes, segment: None });
    }
    cases.finish();
}

#[test]
fn random_graphs_with_recomputed_segments() {
    let mut cases = Cases::new("tape", TOLERANCE);
    let mut rng = Rng(2026);
    for _ in 0..25 {
        let n = 2 + rng.below(7);
        // A segment's insides are used by the segment alone: behind it, only its last tensor and what came before.
        let segment = (rng.below(3) > 0).then(|| {
            let first = rng.below(n - 1);
            (first, first + 1 + rng.below(n - first))
        });
        let nodes: Vec<Node> = (0..n)
            .map(|i| {
                let mut pick = || loop {
                    // Late tensors more often, so that most of the graph leads to the value.
                    let at = (i + 2) - 1 - rng.below(i + 2).min(rng.below(i + 2));
                    let hidden =
                        segment.is_some_and(|(first, last)| i >= last && (first + 2..last + 1).contains(&at));
                    if !hidden {
                        return at;
                    }
                };
                let (a, b) = (pick(), pick());
                if rng.below(3) > 0 { Node::Add(a, b) } else { Node::Linear(a) }
            })
            .collect();
        check(&mut cases, "random", &Graph { nodes, segment });
    }
    cases.finish();
}

#[test]
fn recomputing_gives_the_same_bits() {
    use Node::{Add, Linear};
    let mut rng = Rng(7);
    let x = [rng.mat(3, 4, 0.0, 1.0), rng.mat(3, 4, 0.0, 1.0), rng.mat(4, 4, 0.0, 0.5)];
    let dy = rng.mat(3, 4, 0.0, 1.0);
    let of = |segment| {
        let graph = Graph { nodes: vec![Linear(0), Add(0, 2), Linear(3), Add(3, 4), Linear(5)], segment };
        run(&x.each_ref().map(Input::Activation), Some(&dy), |tape, x| graph.record(tape, x))
    };
    let whole = of(None);
    assert_eq!(whole, of(Some((0, 4))));
    assert_eq!(whole, of(Some((2, 5))));
}

#[test]
fn what_is_frozen_costs_nothing() {
    let mut store = Store::default();
    let mut mat = |rows, cols| store.declare("x", Role::Inputs, rows, cols);
    let (x, w, dw, y) = (mat(8, 4), mat(4, 4), mat(4, 4), mat(8, 4));
    let commands = |trained: bool, used: bool| {
        let mut tape = Tape::new();
        if trained {
            tape.train(w, dw);
        }
        let h = ops::linear(&mut tape, x, w, None);
        let lost = ops::linear(&mut tape, h, w, None);
        tape.copy(if used { lost } else { h }, y);
        tape.backward(); // nothing seeds
        Plan::new(tape.finish()).len()
    };
    assert_eq!(commands(false, true), 3);
    assert_eq!(commands(true, true), 3, "nothing seeds a gradient, so nothing computes one");
    assert_eq!(commands(true, false), 2, "what nobody reads is not computed");

    let gradients = |trained_input: bool| {
        let mut tape = Tape::new();
        tape.train(w, dw);
        if trained_input {
            tape.train(x, y);
        }
        let h = ops::linear(&mut tape, x, w, None);
        if let Some(dh) = tape.gradient(h) {
            tape.copy(x, dh.tensor);
        }
        tape.backward();
        Plan::new(tape.finish()).len()
    };
    assert_eq!(gradients(false), 2, "a copy and dW: neither y nor dx is wanted");
    assert_eq!(gradients(true), 3);
}
