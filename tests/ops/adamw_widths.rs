//! AdamW with weights, gradients and moments in 16 and 8 bits: each step against f64 over the numbers that were held before it,
//! within what a rounding may change; rounding by chance is right on average, and the same for the same seed.

use underdog::graph::{
    optim::{AdamW, Width},
    plan::Plan,
    scalars::{self, HOST_SCALARS, Scalars, loss_scaling},
    tape::Tape,
    tensor::{Format, Memory, Role, Store, Tensor},
};

use crate::common::{Mat, Rng, gpu};

/// Levels of bitsandbytes' `create_dynamic_map`, in order.
fn dynamic_map(signed: bool) -> Vec<f64> {
    let mut levels = vec![0.0, 1.0];
    for decade in 0..7 {
        let parts = if signed { 1 << decade } else { 2 << decade };
        let edge = |i: i32| 0.1 + 0.9 * f64::from(i) / f64::from(parts);
        for i in 0..parts {
            let level = 10f64.powi(decade - 6) * (edge(i) + edge(i + 1)) / 2.0;
            levels.push(level);
            levels.extend(signed.then_some(-level));
        }
    }
    levels.sort_by(f64::total_cmp);
    levels
}

#[test]
fn the_dynamic_map_is_what_is_published() {
    for (signed, least, worst) in [(true, -0.9929688, 0.0072), (false, 0.0, 0.0036)] {
        let map = dynamic_map(signed);
        assert_eq!(map.len(), 256);
        assert!(map.windows(2).all(|pair| pair[0] < pair[1]), "strictly rising");
        assert!(map.contains(&0.0) && map[255] == 1.0 && (map[0] - least).abs() < 1e-7, "{}", map[0]);
        let gap = map.windows(2).map(|pair| (pair[1] - pair[0]) / 2.0).fold(0.0, f64::max);
        assert!(gap < worst, "off by {gap}");
    }
}

/// The numbers of one parameter and of its state.
#[derive(Clone, PartialEq)]
struct State {
    weight: Vec<f64>,
    moments: [Vec<f64>; 2],
    scales: Vec<f32>,
}

struct Device {
    memory: Memory,
    schedule: Tensor,
    pairs: Vec<(Tensor, Tensor)>,
    optimizer: AdamW,
    program: underdog::gpu::Program,
    dispatches: usize,
}

/// Rows, columns, and whether weights and gradients are bfloat16.
type Shape = (usize, usize, bool);

impl Device {
    fn new(shapes: &[Shape], width: Width, role: Option<Role>) -> Self {
        let mut store = Store::default();
        let schedule = scalars::declare(&mut store);
        let mut declare = |role, &(rows, cols, halves): &Shape| {
            store.declare_packed("w", role, rows, cols, if halves { Format::Bf16 } else { Format::F32 })
        };
        let roles = [Role::Weights, Role::Gradients].map(|own| role.unwrap_or(own));
        let pairs: Vec<_> = shapes.iter().map(|shape| roles.map(|role| declare(role, shape)).into()).collect();
        let optimizer = AdamW::declare(&mut store, &pairs, schedule, width);
        let mut tape = Tape::new();
        optimizer.record(&mut tape);
        let plan = Plan::new(tape.finish());
        let memory = Memory::allocate(gpu(), &store).expect("memory");
        let program = plan.load(gpu(), &memory).expect("slots");
        let device = Self { memory, schedule, pairs, optimizer, program, dispatches: plan.len() };
        device.scale(1.0);
        device
    }

    /// From now on gradients are held times this.
    fn scale(&self, loss_scale: f32) {
        self.memory.write(gpu(), loss_scaling(self.schedule), 0, &[loss_scale, 0.0]);
    }

    fn put(&self, tensor: Tensor, values: &[f32]) {
        let mut upload = underdog::gpu::Upload::new(gpu());
        self.memory.upload(&mut upload, tensor, 0, values).and_then(|()| upload.finish()).expect("upload");
    }

    fn update(&mut self, gradients: &[Mat], scalars: &Scalars, step: u64) {
        self.memory.write(gpu(), self.schedule, 0, &scalars.row(step)[..HOST_SCALARS]);
        for ((_, gradient), values) in self.pairs.iter().zip(gradients) {
            self.put(*gradient, &values.f32());
        }
        self.program.run(gpu()).expect("run");
    }

    fn read(&self, tensor: Tensor) -> Vec<f64> {
        self.memory.read_numbers(gpu(), tensor).expect("read").into_iter().map(f64::from).collect()
    }

    fn state(&self) -> Vec<State> {
        let own = self.pairs.iter().zip(self.optimizer.moments()).zip(self.optimizer.scales());
        own.map(|(((weight, _), moments), scales)| {
            let scales = scales.map_or_else(Vec::new, |s| self.memory.read_numbers(gpu(), s).expect("read"));
            let mut held = moments.map(|moment| self.read(moment));
            for (i, held) in held.iter_mut().enumerate().filter(|_| moments[0].format == Format::Codes) {
                let map = dynamic_map(i == 0);
                let scale = |at: usize| f64::from(scales[at / 256 * 2 + i]);
                held.iter_mut().enumerate().for_each(|(at, code)| *code = map[*code as usize] * scale(at));
            }
            State { weight: self.read(*weight), moments: held, scales }
        })
        .collect()
    }
}

/// Awkward sizes: with whole blocks and without, and one that is no matrix.
const SHAPES: [Shape; 6] =
    [(4, 64, true), (12, 192, true), (1, 1757, false), (260, 320, true), (16, 48, false), (63, 128, false)];

/// One step in f64: the weight and both moments.
fn moved([w, m, v]: [f64; 3], g: f64, s: &Scalars, step: i32) -> [f64; 3] {
    let [b1, b2] = s.betas;
    let (m, v) = (b1 * m + (1.0 - b1) * g, b2 * v + (1.0 - b2) * g * g);
    let [c1, c2] = s.betas.map(|beta| 1.0 - beta.powi(step + 1));
    [w * (1.0 - s.lr * s.weight_decay) - s.lr / c1 * m / (v.sqrt() / c2.sqrt() + s.eps), m, v]
}

/// How far a number may be from `want` when it is rounded to this format: to either side for what is rounded by chance.
fn allowed(want: f64, format: Format, largest: f64, signed: bool) -> f64 {
    match format {
        Format::Bf16 => want.abs() / 128.0 + 1e-38,
        Format::Codes => {
            let map = dynamic_map(signed);
            let y = want / largest.max(f64::MIN_POSITIVE);
            let up = map.partition_point(|level| *level < y).clamp(1, 255);
            let gap = (map[up] - map[up - 1]) * largest;
            // Nothing is nearer to -1 than the lowest level.
            if signed { (gap / 2.0).max(0.0071 * largest * f64::from(u8::from(y < -0.99))) } else { gap }
        }
        _ => 0.0,
    }
}

fn gradients(rng: &mut Rng, shapes: &[Shape], size: f64) -> Vec<Mat> {
    // Some far larger than others, in one block too.
    let mut mat = |&(rows, cols, halves): &Shape| {
        let mut mat = rng.mat(rows, cols, 0.1 * size, size);
        mat.data.iter_mut().step_by(7).for_each(|x| *x = f64::from((*x * 1e-3) as f32));
        if halves {
            mat.data.iter_mut().for_each(|x| *x = half::bf16::from_f64(*x).to_f64());
        }
        mat
    };
    shapes.iter().map(&mut mat).collect()
}

#[test]
fn every_step_is_torchs_but_for_rounding() {
    for width in [Width::Bits16, Width::Bits8] {
        for (name, scalars, size) in [
            ("plain", Scalars { lr: 0.05, ..Scalars::default() }, 1.0),
            ("clipped and decayed", Scalars { lr: 0.05, clip: 0.5, weight_decay: 0.1, ..Scalars::default() }, 10.0),
            ("small gradients", Scalars { lr: 1e-3, ..Scalars::default() }, 1e-6),
        ] {
            let mut rng = Rng(17);
            let mut device = Device::new(&SHAPES, width, None);
            for ((weight, _), &(rows, cols, _)) in device.pairs.iter().zip(&SHAPES) {
                device.put(*weight, &rng.mat(rows, cols, 0.0, 0.1).f32());
            }
            for step in 0..6 {
                let before = device.state();
                let gradients = gradients(&mut rng, &SHAPES, size);
                device.update(&gradients, &scalars, step);
                let norm = gradients.iter().flat_map(|g| &g.data).map(|g| g * g).sum::<f64>().sqrt();
                let scale = if scalars.clip > 0.0 { (scalars.clip / (norm + 1e-6)).min(1.0) } else { 1.0 };
                let after = device.state();
                for (i, (after, before)) in after.iter().zip(&before).enumerate() {
                    let (weight, _) = device.pairs[i];
                    let held = device.optimizer.moments().nth(i).expect("moments")[0].format;
                    let whole = weight.rows > 1 && weight.len() % 256 == 0;
                    assert_eq!(held == Format::F32, !whole, "parameter {i}: {held:?}");
                    for at in 0..weight.len() {
                        let was = [before.weight[at], before.moments[0][at], before.moments[1][at]];
                        let want = moved(was, gradients[i].data[at] * scale, &scalars, step as i32);
                        let got = [after.weight[at], after.moments[0][at], after.moments[1][at]];
                        let largest =
                            |kind: usize| after.scales.get(at / 256 * 2 + kind).map_or(0.0, |s| f64::from(*s));
                        let most = [
                            allowed(want[0], weight.format, 0.0, true) + 4e-6 * (want[0].abs() + scalars.lr),
                            allowed(want[1], held, largest(0), true) + 4e-6 * (want[1].abs() + was[1].abs()),
                            allowed(want[2], held, largest(1), false) + 4e-6 * want[2].abs(),
                        ];
                        for part in 0..3 {
                            let error = (got[part] - want[part]).abs();
                            assert!(
                                error <= most[part],
                                "{width:?}, {name}, step {step}, parameter {i}, number {at}, part {part}: got {}, want {}, \
                                 off by {error:.2e}, allowed {:.2e}",
                                got[part],
                                want[part],
                                most[part]
                            );
                        }
                        assert!(want[2] == 0.0 || got[2] > 0.0 || want[2] < 1e-35, "a second moment rounded to 0");
                    }
                }
                for (_, gradient) in &device.pairs {
                    assert!(device.read(*gradient).iter().all(|g| *g == 0.0), "a gradient is not cleared");
                }
            }
        }
    }
}

#[test]
fn rounding_is_right_on_average() {
    let shapes = [(256, 256, true)];
    let n = 65536.0f64;
    let g = Mat::new(256, 256, vec![0.5; 65536]);
    for (width, steps) in [(Width::Bits16, 40), (Width::Bits8, 1)] {
        let mut device = Device::new(&shapes, width, None);
        device.put(device.pairs[0].0, &vec![1.0; 65536]);
        // Each step moves a weight by a hundredth of what bfloat16 tells apart there.
        let scalars = Scalars { lr: 4e-5, seed: 3, ..Scalars::default() };
        let mut want = [1.0, 0.0, 0.0];
        for step in 0..steps {
            device.update(std::slice::from_ref(&g), &scalars, step);
            want = moved(want, 0.5, &scalars, step as i32);
        }
        let state = device.state().remove(0);
        let mean = |values: &[f64]| values.iter().sum::<f64>() / n;
        let got = [mean(&state.weight), mean(&state.moments[0]), mean(&state.moments[1])];
        for (part, unit) in [(0, 1.0 / 256.0), (1, want[1] / 128.0), (2, want[2] / 128.0)] {
            // Five deviations of a mean of roundings that add up over the steps.
            let most = 5.0 * 0.5 * unit * (steps as f64).sqrt() / n.sqrt() + 1e-5 * want[part];
            let error = (got[part] - want[part]).abs();
            eprintln!("{width:?}, part {part}: mean {:.7}, want {:.7}, allowed {most:.1e}", got[part], want[part]);
            assert!(error < most, "{width:?}, part {part}: off by {error:.2e}, allowed {most:.2e}");
        }
        let moved_down = state.weight.iter().filter(|w| **w < 1.0).count();
        assert!(moved_down > 100 && moved_down < 60_000, "{moved_down} weights moved");
    }
}

/// Second moments in 8 bits: a block's large numbers keep its scale, the small ones between two levels must follow.
#[test]
fn second_moments_in_8_bits_follow_on_average() {
    let mut device = Device::new(&[(64, 256, true)], Width::Bits8, None);
    let scalars = Scalars { lr: 1e-6, seed: 5, ..Scalars::default() };
    let gradient = |first: f64, rest: f64| {
        let entry = |i: usize| half::bf16::from_f64(if i.is_multiple_of(256) { first } else { rest }).to_f64();
        Mat::new(64, 256, (0..64 * 256).map(entry).collect())
    };
    let (mut want, b2) = (0.0, scalars.betas[1]);
    for step in 0..60 {
        let rest = if step < 20 { 0.5 } else { 0.25 };
        device.update(&[gradient(1.0, rest)], &scalars, step);
        want = b2 * want + (1.0 - b2) * rest * rest;
    }
    let state = device.state().remove(0);
    let rest: Vec<f64> = state.moments[1].iter().enumerate().filter(|(i, _)| i % 256 != 0).map(|(_, v)| *v).collect();
    let mean = rest.iter().sum::<f64>() / rest.len() as f64;
    eprintln!("second moments: mean {mean:.6}, want {want:.6}");
    assert!((mean - want).abs() < 0.01 * want, "mean {mean}, want {want}");
}

#[test]
fn one_seed_gives_the_same_bits_however_parameters_lie() {
    let shapes =
        [(64, 256, true), (1, 100, false), (128, 128, true), (64, 256, false), (4, 64, true), (128, 256, true)];
    let run = |width, role, seed| {
        let mut rng = Rng(9);
        let mut device = Device::new(&shapes, width, role);
        for ((weight, _), &(rows, cols, _)) in device.pairs.iter().zip(&shapes) {
            device.put(*weight, &rng.mat(rows, cols, 0.0, 0.1).f32());
        }
        for step in 0..3 {
            let gradients = gradients(&mut rng, &shapes, 1.0);
            device.update(&gradients, &Scalars { lr: 0.01, seed, ..Scalars::default() }, step);
        }
        (device.state(), device.dispatches)
    };
    for width in [Width::Bits16, Width::Bits8] {
        let (together, few) = run(width, None, 1);
        let (apart, many) = run(width, Some(Role::Inputs), 1);
        assert!(together == apart, "{width:?}: bits depend on how parameters lie");
        assert!(few < many, "{few} and {many} dispatches");
        assert!(run(width, None, 1).0 == together, "{width:?}: the same seed gives other bits");
        assert!(run(width, None, 2).0 != together, "{width:?}: another seed gives the same bits");
    }
}

#[test]
fn a_gradient_that_is_not_finite_changes_nothing() {
    for width in [Width::Bits16, Width::Bits8] {
        let mut rng = Rng(4);
        let mut device = Device::new(&SHAPES, width, None);
        device.update(&gradients(&mut rng, &SHAPES, 1.0), &Scalars { lr: 0.1, ..Scalars::default() }, 0);
        let before = device.state();
        for (parameter, at, bad) in [(0, 3, f64::NAN), (3, 70_000, f64::INFINITY), (5, 8000, f64::NAN)] {
            let mut gradients = gradients(&mut rng, &SHAPES, 1.0);
            gradients[parameter].data[at] = bad;
            device.update(&gradients, &Scalars { lr: 0.1, ..Scalars::default() }, 1);
            assert!(before == device.state(), "{width:?}: {bad} in parameter {parameter} changed something");
            device.memory.write(gpu(), device.optimizer.norm(), 0, &[0f32; 2]);
        }
    }
}

#[test]
fn a_loss_scale_changes_no_bit_and_an_overflow_nothing_but_the_scale() {
    for width in [Width::Bits32, Width::Bits16, Width::Bits8] {
        let [plain, scaled] = [1.0, 4096.0].map(|loss_scale| {
            let mut rng = Rng(6);
            let shapes = SHAPES.map(|(rows, cols, halves)| (rows, cols, halves && width != Width::Bits32));
            let mut device = Device::new(&shapes, width, None);
            device.scale(loss_scale);
            let scalars =
                Scalars { lr: 0.1, clip: 20.0, weight_decay: 0.1, growth: 9, seed: 1, ..Scalars::default() };
            for step in 0..3 {
                let mut gradients = gradients(&mut rng, &shapes, 1.0);
                gradients.iter_mut().flat_map(|g| &mut g.data).for_each(|g| *g *= f64::from(loss_scale));
                device.update(&gradients, &scalars, step);
                if step == 1 && loss_scale > 1.0 {
                    let before = device.state();
                    gradients[3].data[70_000] = f64::INFINITY;
                    device.update(&gradients, &scalars, 2);
                    assert!(before == device.state(), "{width:?}: an overflow changed something");
                    assert_eq!(device.read(loss_scaling(device.schedule)), [2048.0, 0.0], "{width:?}");
                    device.scale(loss_scale);
                }
            }
            device.state()
        });
        assert!(plain == scaled, "{width:?}: other bits");
    }
}
