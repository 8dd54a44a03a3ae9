//! Media through their public interfaces.

mod crash;
mod faulty;
mod file_volume;
mod poison;
