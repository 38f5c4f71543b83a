//! Other forms of attention. For GPUs a workgroup owns rows of one kv head, and everything it reads goes through workgroup
//! memory (`shaders/lib/attention_group.wgsl`); for newer software drivers nothing does (`shaders/attention_lanes.wgsl`).
//! Documents' places that no row of a workgroup sees are never visited.

use super::{Heads, Scores};
use crate::{
    gpu::{
        Alternative, Cooperative, Extents, Family, Kernel, Trial,
        kernels::{
            attention, attention_4x64, attention_4x128, attention_4x256, attention_8x64, attention_8x128,
            attention_coop8_64, attention_coop8_128, attention_coop16_64, attention_coop16_128, attention_half_8x64,
            attention_half_8x128, attention_lanes,
        },
    },
    graph::{
        tape::{Command, Tape},
        tensor::{Role, Store, size},
    },
};

/// The families of attention's kernels.
pub(in super::super) static FAMILIES: &[Family] = &[
    family(&attention::FORWARD, FORWARD, |params| 2.0 * work(params), || ragged(&attention::FORWARD)),
    family(&attention::BACKWARD_Q, BACKWARD_Q, |params| 3.0 * work(params), || ragged(&attention::BACKWARD_Q)),
    family(&attention::BACKWARD_KV, BACKWARD_KV, |params| 4.0 * work(params), || ragged(&attention::BACKWARD_KV)),
];

const fn family(
    kernel: &'static Kernel,
    alternatives: &'static [Alternative],
    work: fn(&[u8]) -> f64,
    ragged: fn() -> Vec<Extents>,
) -> Family {
    Family { kernel, class, alternatives, trial: Trial { work, fill, ragged } }
}

type Constants = &'static [(&'static str, f64)];
type Grid = fn(&[u8]) -> Option<[u32; 3]>;

/// 32 rows, in 16 KiB: the shaders' defaults for 4 rows an invocation.
const SMALL_4: Constants = &[];
/// The same for heads of up to 64 and 256.
const SMALL_4_NARROW: Constants = &[("PART", 16.0)];
const SMALL_4_WIDE: Constants = &[("PART", 4.0)];
const SMALL_8: Constants = &[("TALL", 4.0)];
const SMALL_8_NARROW: Constants = &[("TALL", 4.0), ("PART", 16.0)];
/// 64 rows, in 32 KiB.
const LARGE_4: Constants = &[("TALL", 16.0), ("PART", 16.0), ("STAGE", 1600.0), ("FOLD", 1088.0)];
const LARGE_4_NARROW: Constants = &[("TALL", 16.0), ("PART", 32.0), ("STAGE", 1600.0), ("FOLD", 1088.0)];
const LARGE_4_WIDE: Constants = &[("TALL", 16.0), ("PART", 8.0), ("STAGE", 1600.0), ("FOLD", 1088.0)];
const LARGE_8: Constants = &[("PART", 16.0), ("STAGE", 1600.0), ("FOLD", 1088.0)];
/// 64 rows in f16, in 16 KiB.
const HALF_8: Constants = &[("PART", 8.0), ("STAGE", 1344.0), ("FOLD", 1088.0)];
const HALF_8_NARROW: Constants = &[("PART", 16.0), ("STAGE", 1344.0), ("FOLD", 1088.0)];
const LARGE_8_NARROW: Constants = &[("PART", 32.0), ("STAGE", 1600.0), ("FOLD", 1088.0)];

/// Matrix units of a size, for subgroups of another: elements of what is staged, and of scores.
const UNITS_16_32: Constants = &[("SUBGROUP", 32.0), ("STAGE", 1696.0), ("SCORES", 1088.0)];
const UNITS_16_64: Constants = &[("SUBGROUP", 64.0), ("STAGE", 1696.0), ("SCORES", 1088.0)];
const UNITS_16_32_NARROW: Constants = &[("SUBGROUP", 32.0), ("STAGE", 1440.0), ("SCORES", 1088.0)];
const UNITS_16_64_NARROW: Constants = &[("SUBGROUP", 64.0), ("STAGE", 1440.0), ("SCORES", 1088.0)];
const UNITS_8_32: Constants = &[("SUBGROUP", 32.0), ("STAGE", 6784.0), ("SCORES", 4352.0)];
const UNITS_8_8: Constants = &[("SUBGROUP", 8.0), ("STAGE", 6784.0), ("SCORES", 4352.0)];
const UNITS_8_32_NARROW: Constants = &[("SUBGROUP", 32.0), ("STAGE", 5760.0), ("SCORES", 4352.0)];
const UNITS_8_8_NARROW: Constants = &[("SUBGROUP", 8.0), ("STAGE", 5760.0), ("SCORES", 4352.0)];

static FORWARD: &[Alternative] = &[
    lanes(&attention_lanes::FORWARD, forward_lanes),
    small("32x4 to 64", &attention_4x64::FORWARD, SMALL_4_NARROW, 128, forward::<32, 0, 64>),
    small("32x8 to 64", &attention_8x64::FORWARD, SMALL_8_NARROW, 64, forward::<32, 0, 64>),
    large("64x4 to 64", &attention_4x64::FORWARD, LARGE_4_NARROW, 256, forward::<64, 0, 64>),
    large("64x8 to 64", &attention_8x64::FORWARD, LARGE_8_NARROW, 128, forward::<64, 0, 64>),
    small("32x4 to 128", &attention_4x128::FORWARD, SMALL_4, 128, forward::<32, 64, 128>),
    small("32x8 to 128", &attention_8x128::FORWARD, SMALL_8, 64, forward::<32, 64, 128>),
    large("64x4 to 128", &attention_4x128::FORWARD, LARGE_4, 256, forward::<64, 64, 128>),
    large("64x8 to 128", &attention_8x128::FORWARD, LARGE_8, 128, forward::<64, 64, 128>),
    small("32x4 to 256", &attention_4x256::FORWARD, SMALL_4_WIDE, 128, forward::<32, 128, 256>),
    large("64x4 to 256", &attention_4x256::FORWARD, LARGE_4_WIDE, 256, forward::<64, 128, 256>),
    half("f16 64x8 to 64", &attention_half_8x64::FORWARD, HALF_8_NARROW, 128, forward::<64, 0, 64>),
    half("f16 64x8 to 128", &attention_half_8x128::FORWARD, HALF_8, 128, forward::<64, 64, 128>),
    cooperative("16s, 32 lanes, to 64", &attention_coop16_64::FORWARD, UNITS_16_32_NARROW, 16, forward::<64, 0, 64>),
    cooperative("16s, 64 lanes, to 64", &attention_coop16_64::FORWARD, UNITS_16_64_NARROW, 16, forward::<64, 0, 64>),
    cooperative("16s, 32 lanes, to 128", &attention_coop16_128::FORWARD, UNITS_16_32, 16, forward::<64, 64, 128>),
    cooperative("16s, 64 lanes, to 128", &attention_coop16_128::FORWARD, UNITS_16_64, 16, forward::<64, 64, 128>),
    cooperative("8s, 32 lanes, to 64", &attention_coop8_64::FORWARD, UNITS_8_32_NARROW, 8, forward::<64, 0, 64>),
    cooperative("8s, 8 lanes, to 64", &attention_coop8_64::FORWARD, UNITS_8_8_NARROW, 8, forward::<64, 0, 64>),
    cooperative("8s, 32 lanes, to 128", &attention_coop8_128::FORWARD, UNITS_8_32, 8, forward::<64, 64, 128>),
    cooperative("8s, 8 lanes, to 128", &attention_coop8_128::FORWARD, UNITS_8_8, 8, forward::<64, 64, 128>),
];

static BACKWARD_Q: &[Alternative] = &[
    lanes(&attention_lanes::BACKWARD_Q, query_lanes),
    small("32x4 to 64", &attention_4x64::BACKWARD_Q, SMALL_4_NARROW, 128, queries::<32, 0, 64>),
    small("32x8 to 64", &attention_8x64::BACKWARD_Q, SMALL_8_NARROW, 64, queries::<32, 0, 64>),
    large("64x4 to 64", &attention_4x64::BACKWARD_Q, LARGE_4_NARROW, 256, queries::<64, 0, 64>),
    large("64x8 to 64", &attention_8x64::BACKWARD_Q, LARGE_8_NARROW, 128, queries::<64, 0, 64>),
    small("32x4 to 128", &attention_4x128::BACKWARD_Q, SMALL_4, 128, queries::<32, 64, 128>),
    small("32x8 to 128", &attention_8x128::BACKWARD_Q, SMALL_8, 64, queries::<32, 64, 128>),
    large("64x4 to 128", &attention_4x128::BACKWARD_Q, LARGE_4, 256, queries::<64, 64, 128>),
    large("64x8 to 128", &attention_8x128::BACKWARD_Q, LARGE_8, 128, queries::<64, 64, 128>),
    small("32x4 to 256", &attention_4x256::BACKWARD_Q, SMALL_4_WIDE, 128, queries::<32, 128, 256>),
    large("64x4 to 256", &attention_4x256::BACKWARD_Q, LARGE_4_WIDE, 256, queries::<64, 128, 256>),
    cooperative(
        "16s, 32 lanes, to 64",
        &attention_coop16_64::BACKWARD_Q,
        UNITS_16_32_NARROW,
        16,
        queries::<64, 0, 64>,
    ),
    cooperative(
        "16s, 64 lanes, to 64",
        &attention_coop16_64::BACKWARD_Q,
        UNITS_16_64_NARROW,
        16,
        queries::<64, 0, 64>,
    ),
    cooperative("16s, 32 lanes, to 128", &attention_coop16_128::BACKWARD_Q, UNITS_16_32, 16, queries::<64, 64, 128>),
    cooperative("16s, 64 lanes, to 128", &attention_coop16_128::BACKWARD_Q, UNITS_16_64, 16, queries::<64, 64, 128>),
    cooperative("8s, 32 lanes, to 64", &attention_coop8_64::BACKWARD_Q, UNITS_8_32_NARROW, 8, queries::<64, 0, 64>),
    cooperative("8s, 8 lanes, to 64", &attention_coop8_64::BACKWARD_Q, UNITS_8_8_NARROW, 8, queries::<64, 0, 64>),
    cooperative("8s, 32 lanes, to 128", &attention_coop8_128::BACKWARD_Q, UNITS_8_32, 8, queries::<64, 64, 128>),
    cooperative("8s, 8 lanes, to 128", &attention_coop8_128::BACKWARD_Q, UNITS_8_8, 8, queries::<64, 64, 128>),
];

/// Two sums a row: 8 rows an invocation only where heads are narrow.
static BACKWARD_KV: &[Alternative] = &[
    lanes(&attention_lanes::BACKWARD_KV, key_lanes),
    small("32x4 to 64", &attention_4x64::BACKWARD_KV, SMALL_4_NARROW, 128, keys::<32, 0, 64>),
    small("32x8 to 64", &attention_8x64::BACKWARD_KV, SMALL_8_NARROW, 64, keys::<32, 0, 64>),
    large("64x4 to 64", &attention_4x64::BACKWARD_KV, LARGE_4_NARROW, 256, keys::<64, 0, 64>),
    large("64x8 to 64", &attention_8x64::BACKWARD_KV, LARGE_8_NARROW, 128, keys::<64, 0, 64>),
    small("32x4 to 128", &attention_4x128::BACKWARD_KV, SMALL_4, 128, keys::<32, 64, 128>),
    large("64x4 to 128", &attention_4x128::BACKWARD_KV, LARGE_4, 256, keys::<64, 64, 128>),
    small("32x4 to 256", &attention_4x256::BACKWARD_KV, SMALL_4_WIDE, 128, keys::<32, 128, 256>),
    large("64x4 to 256", &attention_4x256::BACKWARD_KV, LARGE_4_WIDE, 256, keys::<64, 128, 256>),
    cooperative(
        "16s, 32 lanes, to 64",
        &attention_coop16_64::BACKWARD_KV,
        UNITS_16_32_NARROW,
        16,
        keys_or_values::<64, 0, 64>,
    ),
    cooperative(
        "16s, 64 lanes, to 64",
        &attention_coop16_64::BACKWARD_KV,
        UNITS_16_64_NARROW,
        16,
        keys_or_values::<64, 0, 64>,
    ),
    cooperative(
        "16s, 32 lanes, to 128",
        &attention_coop16_128::BACKWARD_KV,
        UNITS_16_32,
        16,
        keys_or_values::<64, 64, 128>,
    ),
    cooperative(
        "16s, 64 lanes, to 128",
        &attention_coop16_128::BACKWARD_KV,
        UNITS_16_64,
        16,
        keys_or_values::<64, 64, 128>,
    ),
    cooperative(
        "8s, 32 lanes, to 64",
        &attention_coop8_64::BACKWARD_KV,
        UNITS_8_32_NARROW,
        8,
        keys_or_values::<64, 0, 64>,
    ),
    cooperative(
        "8s, 8 lanes, to 64",
        &attention_coop8_64::BACKWARD_KV,
        UNITS_8_8_NARROW,
        8,
        keys_or_values::<64, 0, 64>,
    ),
    cooperative(
        "8s, 32 lanes, to 128",
        &attention_coop8_128::BACKWARD_KV,
        UNITS_8_32,
        8,
        keys_or_values::<64, 64, 128>,
    ),
    cooperative(
        "8s, 8 lanes, to 128",
        &attention_coop8_128::BACKWARD_KV,
        UNITS_8_8,
        8,
        keys_or_values::<64, 64, 128>,
    ),
];

/// The form without workgroup memory.
const fn lanes(kernel: &'static Kernel, grid: Grid) -> Alternative {
    Alternative { workgroup_bytes: 0, software: true, ..small("64 in lanes", kernel, &[], 8, grid) }
}

/// A form in the 16 KiB that every device has.
const fn small(
    name: &'static str,
    kernel: &'static Kernel,
    constants: Constants,
    invocations: u32,
    grid: Grid,
) -> Alternative {
    let workgroup_bytes = 16 << 10;
    Alternative {
        name,
        kernel,
        constants,
        workgroup_bytes,
        invocations,
        cooperative: None,
        half: false,
        software: false,
        grid,
    }
}

/// One in 32 KiB.
const fn large(
    name: &'static str,
    kernel: &'static Kernel,
    constants: Constants,
    invocations: u32,
    grid: Grid,
) -> Alternative {
    Alternative { workgroup_bytes: 32 << 10, ..small(name, kernel, constants, invocations, grid) }
}

/// One that stages f16, in 16 KiB. Gradients have no such form: without a gain, as those by matrix units have, they fall
/// below its range.
const fn half(
    name: &'static str,
    kernel: &'static Kernel,
    constants: Constants,
    invocations: u32,
    grid: Grid,
) -> Alternative {
    Alternative { half: true, ..small(name, kernel, constants, invocations, grid) }
}

/// One by matrix units, in 32 KiB.
const fn cooperative(
    name: &'static str,
    kernel: &'static Kernel,
    constants: Constants,
    size: u32,
    grid: Grid,
) -> Alternative {
    let cooperative = Some(Cooperative { size, half: true });
    Alternative { cooperative, half: true, ..large(name, kernel, constants, 128, grid) }
}

fn params(bytes: &[u8]) -> Option<attention::Params> {
    bytemuck::try_pod_read_unaligned(bytes).ok()
}

/// Head size, heads that share a kv head, and how many tokens, to a power of two.
fn class(bytes: &[u8]) -> String {
    params(bytes).map_or_else(String::new, |p| {
        let decoding = if decoding(&p) { ", one query at a time" } else { "" };
        format!("{}x{} of {}{decoding}", p.head_dim, p.q_heads / p.kv_heads, p.q_len.next_power_of_two())
    })
}

/// Whether invocations own pairs of one query alone.
fn decoding(p: &attention::Params) -> bool {
    p.tile_rows < size(super::ROWS)
}

/// Multiply-adds of one of a kernel's products, of half a square.
fn work(bytes: &[u8]) -> f64 {
    params(bytes).map_or(0.0, |p| {
        [p.q_len, p.q_heads, p.head_dim, p.end - p.begin].map(f64::from).iter().product::<f64>() / 2.0
    })
}

/// Indices of a row of documents of two fifths of its length, so that blocks begin and end inside of them.
fn fill(bytes: &[u8], binding: &str, words: usize) -> Option<Vec<u32>> {
    let p = params(bytes)?;
    let document = (p.q_len * 2 / 5).max(1);
    let words = size(words);
    match binding {
        "spans" => {
            Some((0..words / 2).flat_map(|i| [i / document * document, i + 1].map(|j| j.min(p.kv_len))).collect())
        }
        "ends" => Some((0..words).map(|j| ((j / document + 1) * document).min(p.q_len)).collect()),
        _ => None,
    }
}

/// A kernel's dispatches for a few tokens and heads of every class of forms, each also for a part of the range, adding.
fn ragged(kernel: &Kernel) -> Vec<Extents> {
    let (mut store, mut tape) = (Store::default(), Tape::new());
    let plain: fn(usize) -> Scores = Scores::plain;
    let capped = |head_dim| Scores { softcap: Some(2.0), window: Some(33), ..Scores::plain(head_dim) };
    for (heads, kv_heads, head_dim, form) in
        [(4, 2, 64, plain), (3, 1, 48, capped), (2, 1, 128, plain), (3, 3, 80, capped), (2, 1, 256, capped)]
    {
        let scores = form(head_dim);
        let heads = Heads { heads, kv_heads, head_dim };
        let mut declare = |cols| store.declare("ragged", Role::Inputs, 130, cols);
        let qkv = [heads.heads, kv_heads, kv_heads].map(|h| declare(h * head_dim));
        let [spans, ends] = [2, 1].map(&mut declare);
        for x in qkv {
            let dx = declare(x.cols);
            tape.train(x, dx);
        }
        let y = super::attention(&mut tape, qkv, heads, scores, spans, ends);
        tape.gradient(y);
        tape.backward();
    }
    let recording = tape.finish();
    let own = recording.commands.iter().filter_map(Command::dispatch).filter(|(of, _)| of.name == kernel.name);
    let with = |extents: &Extents, begin, accumulate| {
        let p = params(&extents.params).map(|p| attention::Params { begin, accumulate, ..p });
        Extents { params: p.map_or_else(Vec::new, |p| bytemuck::bytes_of(&p).to_vec()), ..extents.clone() }
    };
    own.flat_map(|(_, extents)| [with(&extents, 0, 0), with(&extents, 37, 1)]).collect()
}

/// Places of the other side that keep loops short enough, see `tests/ops/trips.rs`. Ranges are cut by the trips of the
/// portable form, which are few where heads are small.
const MOST_PLACES: u32 = 16_000;

/// Workgroups of `ROWS` rows of a kv head that look at so many places, for heads of more than `OVER` and up to `MOST`.
fn grid<const ROWS: u32, const OVER: u32, const MOST: u32>(
    p: &attention::Params,
    rows: u32,
    places: u32,
) -> Option<[u32; 3]> {
    let groups = rows.div_ceil(ROWS);
    let fits = p.head_dim > OVER && p.head_dim <= MOST && places <= MOST_PLACES && groups <= crate::gpu::MAX_GROUPS;
    fits.then_some([groups, p.kv_heads, 1])
}

fn queries<const ROWS: u32, const OVER: u32, const MOST: u32>(bytes: &[u8]) -> Option<[u32; 3]> {
    let p = params(bytes)?;
    grid::<ROWS, OVER, MOST>(&p, p.q_len.checked_mul(p.q_heads / p.kv_heads)?, p.end - p.begin)
}

/// Not for decoding: its queries' keys lie far apart.
fn forward<const ROWS: u32, const OVER: u32, const MOST: u32>(bytes: &[u8]) -> Option<[u32; 3]> {
    if decoding(&params(bytes)?) { None } else { queries::<ROWS, OVER, MOST>(bytes) }
}

fn keys<const ROWS: u32, const OVER: u32, const MOST: u32>(bytes: &[u8]) -> Option<[u32; 3]> {
    let p = params(bytes)?;
    grid::<ROWS, OVER, MOST>(&p, p.kv_len, (p.end - p.begin).checked_mul(p.q_heads / p.kv_heads)?)
}

/// Workgroups for keys beside workgroups for values.
fn keys_or_values<const ROWS: u32, const OVER: u32, const MOST: u32>(bytes: &[u8]) -> Option<[u32; 3]> {
    keys::<ROWS, OVER, MOST>(bytes).map(|[x, y, _]| [x, y, 2])
}

/// Workgroups of 64 rows in lanes. Ranges are cut for the portable form, whose trips are as many.
fn in_lanes(p: &attention::Params, rows: u32) -> Option<[u32; 3]> {
    let groups = rows.div_ceil(64).checked_mul(p.kv_heads)?;
    (groups <= crate::gpu::MAX_GROUPS).then_some([groups, 1, 1])
}

fn query_lanes(bytes: &[u8]) -> Option<[u32; 3]> {
    let p = params(bytes)?;
    in_lanes(&p, p.q_len.checked_mul(p.q_heads / p.kv_heads)?)
}

fn forward_lanes(bytes: &[u8]) -> Option<[u32; 3]> {
    if decoding(&params(bytes)?) { None } else { query_lanes(bytes) }
}

fn key_lanes(bytes: &[u8]) -> Option<[u32; 3]> {
    let p = params(bytes)?;
    in_lanes(&p, p.kv_len)
}
