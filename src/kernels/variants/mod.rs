//! The table of variants: for each kernel that has some, a row says which entry point with which constants, its workgroups,
//! and what a device must have for it. A kernel and its rows make a group in the file of its op.

pub mod attention;
pub mod products;
mod row;
