//! Mixed logits of two models against the golden numbers: both learning, and the weak one frozen.

use underdog::{
    graph::ops::head_loss::{ENTROPY_STRONG, ENTROPY_WEAK, LOSS},
    train::engine::Side,
};

use crate::support::*;

fn check([case, strong, weak]: [&'static str; 3]) {
    let golden = Golden::open(case);
    let rows = rows(&golden.examples(), ROW);
    let mut checks = Checks::of(case);
    for (arm, frozen) in [("joint", false), ("frozen", true)] {
        let models = (strong, Some((weak, frozen)));
        let mut engine = engine(&spec(models, ROW), models);
        let before = parameters(&engine, Side::Auxiliary(0), false);
        let [losses, norms] = curve(&models.into(), &mut engine, &rows, STEPS, |engine, stats| {
            checks.each("loss", &[mean(&rows, stats, LOSS)], &golden.get("loss"), 1e-6);
            for (name, stat) in [("entropy_strong", ENTROPY_STRONG), ("entropy_weak", ENTROPY_WEAK)] {
                checks.each(name, &by_document(&rows, stats, stat), &golden.get(name), 1e-5);
            }
            check_parameters(&mut checks, &golden, "grad.strong.", &parameters(engine, Side::Main, true), 2e-5);
            let of_weak = parameters(engine, Side::Auxiliary(0), true);
            if frozen {
                assert!(
                    of_weak.iter().all(|(_, gradient)| gradient.is_empty()),
                    "{case}: a frozen model has gradients"
                );
            } else {
                check_parameters(&mut checks, &golden, "grad.weak.", &of_weak, 2e-5);
            }
        });
        checks.each(&format!("{arm}.curve"), &losses, &golden.get(&format!("{arm}.curve")), 1e-5);
        checks.each(&format!("{arm}.grad_norms"), &norms, &golden.get(&format!("{arm}.grad_norms")), 2e-5);
        let found = parameters(&engine, Side::Main, false);
        check_parameters(&mut checks, &golden, &format!("{arm}.final.strong."), &found, 5e-4);
        let found = parameters(&engine, Side::Auxiliary(0), false);
        if frozen {
            assert_eq!(found, before, "{case}: a frozen model changed");
        } else {
            check_parameters(&mut checks, &golden, &format!("{arm}.final.weak."), &found, 5e-4);
        }
    }
    checks.finish();
}

#[test]
fn two_of_a_kind() {
    check(MIXES[0]);
}

#[test]
fn a_smaller_weak_model() {
    check(MIXES[1]);
}

#[test]
fn tied_and_untied_heads() {
    check(MIXES[2]);
}
