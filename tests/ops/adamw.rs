//! AdamW against torch's order of operations in f64, over ten steps.

use underdog::graph::{
    optim::{AdamW, Width},
    plan::Plan,
    scalars::{self, HOST_SCALARS, Scalars, loss_scaling},
    tape::Tape,
    tensor::{Memory, Role, Store, Tensor},
};

use crate::common::{Mat, Rng, compare, gpu};

/// torch.nn.utils.clip_grad_norm_, then torch.optim.AdamW (single tensor form), on one group.
struct Reference {
    weights: Vec<Mat>,
    moments: Vec<[Mat; 2]>,
    step: i32,
}

impl Reference {
    fn new(weights: Vec<Mat>) -> Self {
        let moments = weights.iter().map(|w| [0, 1].map(|_| Mat::zeros(w.rows, w.cols))).collect();
        Self { weights, moments, step: 0 }
    }

    /// Returns the norm before clipping.
    fn update(&mut self, gradients: &[Mat], s: &Scalars) -> f64 {
        self.step += 1;
        let squares: f64 = gradients.iter().flat_map(|g| &g.data).map(|g| g * g).sum();
        let norm = squares.sqrt();
        let scale = if s.clip > 0.0 { (s.clip / (norm + 1e-6)).min(1.0) } else { 1.0 };
        let [beta1, beta2] = s.betas;
        let corrections = s.betas.map(|beta| 1.0 - beta.powi(self.step));
        for ((weight, [m, v]), gradient) in self.weights.iter_mut().zip(&mut self.moments).zip(gradients) {
            for i in 0..weight.data.len() {
                let g = gradient.data[i] * scale;
                weight.data[i] *= 1.0 - s.lr * s.weight_decay;
                m.data[i] += (g - m.data[i]) * (1.0 - beta1);
                v.data[i] = v.data[i] * beta2 + (1.0 - beta2) * g * g;
                let denominator = v.data[i].sqrt() / corrections[1].sqrt() + s.eps;
                weight.data[i] -= s.lr / corrections[0] * m.data[i] / denominator;
            }
        }
        norm
    }
}

/// The optimizer under test on the device.
struct Device {
    memory: Memory,
    schedule: Tensor,
    pairs: Vec<(Tensor, Tensor)>,
    optimizer: AdamW,
    program: underdog::gpu::Program,
}

impl Device {
    fn new(weights: &[Mat]) -> Self {
        Self::with(weights, [Role::Weights, Role::Gradients]).0
    }

    /// Weights and gradients of these roles. Also returns how many commands an update takes.
    fn with(weights: &[Mat], roles: [Role; 2]) -> (Self, usize) {
        let mut store = Store::default();
        let schedule = scalars::declare(&mut store);
        let pairs: Vec<_> =
            weights.iter().map(|w| roles.map(|role| store.declare("w", role, w.rows, w.cols)).into()).collect();
        let optimizer = AdamW::declare(&mut store, &pairs, schedule, Width::Bits32);
        let mut tape = Tape::new();
        optimizer.record(&mut tape);
        let recording = tape.finish();
        let commands = recording.commands.len();
        let memory = Memory::allocate(gpu(), &store).expect("memory");
        let program = Plan::new(recording).load(gpu(), &memory).expect("slots");
        for ((weight, _), values) in pairs.iter().zip(weights) {
            memory.write(gpu(), *weight, 0, &values.f32());
        }
        let device = Self { memory, schedule, pairs, optimizer, program };
        device.scale(1.0);
        (device, commands)
    }

    /// From now on gradients are held times this.
    fn scale(&self, loss_scale: f32) {
        self.memory.write(gpu(), loss_scaling(self.schedule), 0, &[loss_scale, 0.0]);
    }

    fn update(&mut self, gradients: &[Mat], scalars: &Scalars, step: u64) {
        self.memory.write(gpu(), self.schedule, 0, &scalars.row(step)[..HOST_SCALARS]);
        for ((_, gradient), values) in self.pairs.iter().zip(gradients) {
            self.memory.write(gpu(), *gradient, 0, &values.f32());
        }
        self.program.run(gpu()).expect("run");
    }

    /// Lets steps change something again.
    fn forgive(&self) {
        self.memory.write(gpu(), self.optimizer.norm(), 0, &[0f32; 2]);
    }

    fn read(&self, tensor: Tensor) -> Vec<f32> {
        self.memory.read(gpu(), tensor).expect("read")
    }

    /// Weights and both moments of every parameter, as bits.
    fn state(&self) -> Vec<Vec<u32>> {
        let tensors = self.pairs.iter().zip(self.optimizer.moments()).flat_map(|((w, _), [m, v])| [*w, m, v]);
        tensors.map(|x| self.read(x).into_iter().map(f32::to_bits).collect()).collect()
    }
}

const SHAPES: [(usize, usize); 5] = [(1, 1), (127, 1), (3, 1757), (64, 64), (65, 128)];

fn scalars() -> Scalars {
    Scalars { lr: 0.05, ..Scalars::default() }
}

fn parameters(rng: &mut Rng) -> Vec<Mat> {
    SHAPES.iter().map(|(r, c)| rng.mat(*r, *c, 0.0, 0.1)).collect()
}

fn times(gradients: &[Mat], factor: f64) -> Vec<Mat> {
    let scaled = |g: &Mat| Mat::new(g.rows, g.cols, g.data.iter().map(|x| x * factor).collect());
    gradients.iter().map(scaled).collect()
}

#[test]
fn ten_steps_are_torchs() {
    // A weight moves by about 0.05 a step and ends near 0.5; each step rounds it and its moments once or twice.
    const TOLERANCE: f64 = 5e-6;
    for (name, scalars, size, loss_scale) in [
        ("plain", scalars(), 1.0, 1.0),
        ("decay", Scalars { weight_decay: 0.1, ..scalars() }, 1.0, 1.0),
        ("clipped", Scalars { clip: 1.0, ..scalars() }, 1.0, 1.0),
        ("not quite clipped", Scalars { clip: 1e6, ..scalars() }, 1.0, 1.0),
        ("clipped and decayed", Scalars { clip: 0.5, weight_decay: 0.01, ..scalars() }, 1.0, 1.0),
        ("small gradients", scalars(), 1e-7, 1.0),
        ("other betas and eps", Scalars { betas: [0.8, 0.95], eps: 1e-3, ..scalars() }, 0.1, 1.0),
        ("the usual rate", Scalars { lr: 1e-5, clip: 1.0, ..scalars() }, 1.0, 1.0),
        ("scaled", scalars(), 1.0, 65_536.0),
        ("scaled, clipped, decayed", Scalars { clip: 0.5, weight_decay: 0.01, ..scalars() }, 1.0, 1_024.0),
    ] {
        let mut rng = Rng(name.len() as u64);
        let weights = parameters(&mut rng);
        let (mut device, mut reference) = (Device::new(&weights), Reference::new(weights));
        device.scale(loss_scale as f32);
        for step in 0..10 {
            // Rates and sizes change from step to step.
            let scalars = Scalars { lr: scalars.lr * (1.0 - 0.05 * step as f64), ..scalars };
            let size = size * (1.0 + (step % 3) as f64);
            let gradients: Vec<Mat> = SHAPES.iter().map(|(r, c)| rng.mat(*r, *c, 0.2 * size, size)).collect();
            device.update(&times(&gradients, loss_scale), &scalars, step);
            let norm = reference.update(&gradients, &scalars);
            let scale = if scalars.clip > 0.0 { (scalars.clip / (norm + 1e-6)).min(1.0) } else { 1.0 };
            let want = Mat::new(1, 3, vec![norm, scale / loss_scale, loss_scale]);
            let got = device.read(device.optimizer.norm());
            for i in 0..3 {
                let want = Mat::new(1, 1, vec![want.data[i]]);
                check(&format!("{name}, step {step}: norm and scale"), &got[i..=i], &want, TOLERANCE);
            }
        }
        for (i, (weight, gradient)) in device.pairs.iter().enumerate() {
            let what = |part| format!("{name}, parameter {i}: {part}");
            check(&what("weight"), &device.read(*weight), &reference.weights[i], TOLERANCE);
            assert!(device.read(*gradient).iter().all(|g| *g == 0.0), "{}", what("gradient is not cleared"));
        }
        for (i, moments) in device.optimizer.moments().enumerate() {
            for (part, (got, want)) in moments.iter().zip(&reference.moments[i]).enumerate() {
                let what = format!("{name}, parameter {i}: moment {}", part + 1);
                check(&what, &device.read(*got), want, TOLERANCE);
            }
        }
    }
}

fn check(what: &str, got: &[f32], want: &Mat, tolerance: f64) {
    match compare(what, got, want, tolerance) {
        Ok(error) => eprintln!("adamw {what}: {error:.1e}"),
        Err(failure) => panic!("{failure}"),
    }
}

#[test]
fn a_gradient_that_is_not_finite_changes_nothing() {
    let mut rng = Rng(1);
    let weights = parameters(&mut rng);
    let mut device = Device::new(&weights);
    let scalars = Scalars { clip: 1.0, weight_decay: 0.1, ..scalars() };
    let gradients: Vec<Mat> = SHAPES.iter().map(|(r, c)| rng.mat(*r, *c, 0.0, 1.0)).collect();
    device.update(&gradients, &scalars, 0);
    let before = device.state();
    for clip in [0.0, 1.0] {
        for (parameter, at, bad) in [
            (0, 0, f64::NAN),
            (2, 5270, f64::NAN),
            (4, 4096, f64::INFINITY),
            (3, 17, f64::NEG_INFINITY),
            (1, 126, 1e30),
        ] {
            let mut gradients = gradients.clone();
            gradients[parameter].data[at] = bad;
            device.update(&gradients, &Scalars { clip, ..scalars }, 1);
            assert!(before == device.state(), "{bad} in parameter {parameter} with clip {clip} changed something");
            let norm = device.read(device.optimizer.norm());
            assert!(!norm[0].is_finite() && norm[1] < 0.0, "{bad}: norm and scale {norm:?}");
            let cleared = device.pairs.iter().all(|(_, g)| device.read(*g).iter().all(|g| *g == 0.0));
            assert!(cleared, "{bad}: the gradient stays, and so would the failure");
            device.forgive();
        }
    }
    device.update(&gradients, &scalars, 1);
    assert!(before != device.state(), "a finite gradient changes something");
}

#[test]
fn after_a_gradient_that_was_not_finite_nothing_changes_until_the_host_says_so() {
    let mut rng = Rng(2);
    let weights = parameters(&mut rng);
    let mut device = Device::new(&weights);
    let good: Vec<Mat> = SHAPES.iter().map(|(r, c)| rng.mat(*r, *c, 0.0, 1.0)).collect();
    let mut bad = good.clone();
    bad[3].data[5] = f64::NAN;
    let before = device.state();
    for gradients in [&bad, &good, &good] {
        device.update(gradients, &scalars(), 0);
        assert!(before == device.state(), "something changed");
        assert!(device.read(device.optimizer.norm())[1] < 0.0, "the failure is forgotten");
    }
    device.forgive();
    device.update(&good, &scalars(), 0);
    assert!(before != device.state(), "a finite gradient changes something");
}

#[test]
fn parameters_side_by_side_are_stepped_at_once_to_the_same_bits() {
    let mut rng = Rng(3);
    let weights = parameters(&mut rng);
    // Inputs have a buffer each.
    let (mut together, few) = Device::with(&weights, [Role::Weights, Role::Gradients]);
    let (mut apart, many) = Device::with(&weights, [Role::Inputs, Role::Inputs]);
    assert_eq!([few, many], [4, 3 * SHAPES.len() + 1], "sums of squares, the norm, steps, cleared gradients");
    for step in 0..3 {
        let gradients: Vec<Mat> = SHAPES.iter().map(|(r, c)| rng.mat(*r, *c, 0.0, 1.0)).collect();
        let scalars = Scalars { weight_decay: 0.1, ..scalars() };
        for device in [&mut together, &mut apart] {
            device.update(&gradients, &scalars, step);
        }
        assert!(together.state() == apart.state(), "step {step}");
    }
}

/// torch.amp.GradScaler.update, but that the scale keeps between 1 and 2^24, and that at 1 a failure stops all.
struct Scaler {
    scale: f64,
    good: u64,
    stopped: bool,
}

impl Scaler {
    /// Whether a step changes weights.
    fn update(&mut self, finite: bool, growth: u64) -> bool {
        self.stopped |= !finite && self.scale <= 1.0;
        if self.stopped {
            return false;
        }
        self.good = if finite { self.good + 1 } else { 0 };
        if !finite {
            self.scale = (self.scale / 2.0).max(1.0);
        } else if self.good == growth {
            (self.scale, self.good) = ((2.0 * self.scale).min(16_777_216.0), 0);
        }
        finite
    }
}

#[test]
fn the_loss_scale_halves_where_gradients_overflow_and_doubles_after_good_steps() {
    let mut rng = Rng(5);
    let weights = parameters(&mut rng);
    let good: Vec<Mat> = SHAPES.iter().map(|(r, c)| rng.mat(*r, *c, 0.0, 1.0)).collect();
    let scalars = Scalars { clip: 1.0, growth: 3, ..scalars() };
    // G: a good step; N, I: one with a NaN or an infinity somewhere; L: one whose squares have no finite sum.
    for (start, steps) in [
        (8.0, "GGGGGNGGIGGGGLLNGGNNGG"),
        (1.0, "GGGNGG"),
        (8_388_608.0, "GGGGGGGGG"),
        (2.0, "NNG"),
        (4.0, "GGNGGNGGG"),
    ] {
        let mut device = Device::new(&weights);
        device.scale(start as f32);
        let mut scaler = Scaler { scale: start, good: 0, stopped: false };
        for (step, kind) in steps.chars().enumerate() {
            let mut gradients = times(&good, scaler.scale);
            let bad = match kind {
                'N' => f64::NAN,
                'I' => f64::NEG_INFINITY,
                _ => 1e30,
            };
            if kind != 'G' {
                gradients[2].data[5270] = bad;
            }
            let (before, of_step) = (device.state(), scaler.scale);
            device.update(&gradients, &scalars, step as u64);
            let stepped = scaler.update(kind == 'G', scalars.growth);
            let what = format!("from {start}, {steps}, step {step}");
            assert_eq!(before != device.state(), stepped, "{what}: whether weights and moments move");
            let held = device.read(loss_scaling(device.schedule));
            assert_eq!(held, [scaler.scale as f32, scaler.good as f32], "{what}: the scale and its good steps");
            let norm = device.read(device.optimizer.norm());
            assert_eq!((norm[0].is_finite(), norm[1] > 0.0), (kind == 'G', stepped), "{what}: {norm:?}");
            assert_eq!(f64::from(norm[2]), of_step, "{what}: the scale of this step");
            let cleared = device.pairs.iter().all(|(_, g)| device.read(*g).iter().all(|g| *g == 0.0));
            assert!(cleared, "{what}: the gradient stays");
        }
    }
}
