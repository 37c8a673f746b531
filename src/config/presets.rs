//! Reads the presets that are compiled in (`conf/providers/NAME.yaml`).

use std::sync::OnceLock;

use super::compile::{CompiledProvider, compile_provider};
use super::fault::Report;
use super::{decode, raw, yaml};
use crate::signature::Presets;

include!(concat!(env!("OUT_DIR"), "/providers.rs"));

/// Every preset that is compiled in.
///
/// # Errors
/// The report of the first preset with a fault; a test of this project fails before that ships.
pub fn builtin() -> Result<&'static Presets, String> {
    static PRESETS: OnceLock<Result<Presets, String>> = OnceLock::new();
    PRESETS
        .get_or_init(|| {
            FILES
                .iter()
                .map(|(name, text)| {
                    let compiled = compile(name, text).map_err(|report| report.to_string())?;
                    Ok(compiled.preset)
                })
                .collect()
        })
        .as_ref()
        .map_err(Clone::clone)
}

/// Compiles the text of a preset file, with its vectors or without.
///
/// # Errors
/// The report with every fault.
pub fn compile(name: &str, text: &str) -> Result<CompiledProvider, Report> {
    let mut report = Report::new(format!("conf/providers/{name}.yaml"), text);
    let parsed = yaml::parse(text);
    report.add(parsed.faults);
    let Some(root) = parsed.root else {
        return Err(report);
    };
    let (file, faults, _) =
        decode::decode::<raw::provider::Provider>(&root, &|text| Ok(text.to_owned()));
    report.add(faults);
    let Some(file) = file else { return Err(report) };
    let (compiled, faults) = compile_provider(name, &file);
    report.add(faults);
    match compiled {
        Some(compiled) if report.is_empty() => Ok(compiled),
        _ => Err(report),
    }
}
