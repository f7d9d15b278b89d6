//! Checks of the machine itself.
pub mod cpu;
pub mod filesystem;
mod limits;
pub mod load;
pub mod memory;
mod source;

#[cfg(test)]
mod fixture;
