//! The computation: tensors and their storage formats, the tape with its reverse walk, the plan that gives it memory, the
//! operations and the optimizer. Nothing here knows a model.

pub mod ops;
pub mod optim;
pub mod plan;
pub mod scalars;
pub mod tape;
pub mod tensor;
