//! What a device multiplies with beside its f32 units: numbers of 16 bits, and matrices. Each is the multiply-add kernel of
//! the ceilings in another form.

use super::{
    case::Limit, error::Error, measure::Samples, multiply_add, recorder::Loaded, results::Entry, results::Unit,
};
use crate::gpu::{Cooperative, Gpu, KernelGroup, Trial, Variant};
use crate::kernels::{ceiling, ceiling_coop_8_f16, ceiling_coop_8_f32, ceiling_coop_16_f16, ceiling_half};

/// The multiply-add kernel and its forms.
static ENGINES: KernelGroup = KernelGroup {
    kernel: &ceiling::MULTIPLY_ADD,
    class: |_| String::new(),
    variants: FORMS,
    // Never tried: each is measured.
    trial: Trial { work: |_| 0.0, fill: |_, _, _| None, ragged: Vec::new },
};

/// Workgroups of a variant by matrix units, each of one subgroup.
const GROUPS: u32 = 4096;

macro_rules! units {
    ($name:literal, $module:ident, $size:literal, $half:literal, $subgroup:literal) => {
        Variant {
            name: $name,
            kernel: &$module::MULTIPLY_ADD,
            constants: &[("SUBGROUP", $subgroup as f64)],
            workgroup_bytes: $size * $size * if $half { 2 } else { 4 },
            invocations: $subgroup,
            cooperative: Some(Cooperative { size: $size, half: $half }),
            half: $half,
            software: false,
            grid: &|_| Some([GROUPS, 1, 1]),
        }
    };
}

static FORMS: &[Variant] = &[
    Variant {
        name: "multiply-add f16",
        kernel: &ceiling_half::MULTIPLY_ADD,
        constants: &[],
        workgroup_bytes: 0,
        invocations: 64,
        cooperative: None,
        half: true,
        software: false,
        grid: &|_| Some([multiply_add::GROUPS, 1, 1]),
    },
    units!("units of 8, subgroups of 8, f16", ceiling_coop_8_f16, 8, true, 8),
    units!("units of 8, subgroups of 32, f16", ceiling_coop_8_f16, 8, true, 32),
    units!("units of 8, subgroups of 64, f16", ceiling_coop_8_f16, 8, true, 64),
    units!("units of 8, subgroups of 32, f32", ceiling_coop_8_f32, 8, false, 32),
    units!("units of 16, subgroups of 32, f16", ceiling_coop_16_f16, 16, true, 32),
    units!("units of 16, subgroups of 64, f16", ceiling_coop_16_f16, 16, true, 64),
];

/// Operations of a whole dispatch in one trip of the outer loop.
fn flops_per_trip(variant: &Variant) -> f64 {
    let (each, times) = match variant.cooperative {
        Some(Cooperative { size, .. }) => {
            (size.pow(3) as usize * ceiling_coop_8_f16::CHAINS * ceiling_coop_8_f16::ROUNDS, GROUPS as usize)
        }
        None => (ceiling_half::CHAINS * ceiling_half::ROUNDS, multiply_add::INVOCATIONS),
    };
    2.0 * each as f64 * times as f64
}

/// The fastest matrix units, in operations a second.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Units {
    pub(super) f16: Option<f64>,
    pub(super) f32: Option<f64>,
}

/// Measures those that the device offers, each by `time`.
pub(super) fn measure(
    gpu: &Gpu,
    mut time: impl FnMut(&Loaded) -> Result<Samples, Error>,
) -> Result<(Units, Vec<Entry>), Error> {
    let (mut units, mut entries) = (Units::default(), Vec::new());
    for variant in ENGINES.variants.iter().filter(|variant| gpu.offers(variant)) {
        let (loaded, trips) = multiply_add::multiply_adds(gpu, Some((&ENGINES, variant)))?;
        let (samples, work) = (time(&loaded)?, flops_per_trip(variant) * trips as f64);
        entries.push(Entry::of_rate(variant.name, "ceiling", &samples, work, Unit::GigaFlops, None));
        let best = match limit(variant) {
            Some(Limit::UnitsF16) => &mut units.f16,
            Some(_) => &mut units.f32,
            None => continue,
        };
        let rate = work / samples.fastest();
        *best = Some(best.map_or(rate, |best| best.max(rate)));
    }
    Ok((units, entries))
}

/// The ceiling of what runs on them.
fn limit(variant: &Variant) -> Option<Limit> {
    variant.cooperative.map(|unit| if unit.half { Limit::UnitsF16 } else { Limit::UnitsF32 })
}
