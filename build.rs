//! Compiles the presets in: `conf/providers/*.yaml` and `conf/polls/*.yaml` become tables of names and
//! texts, without the vectors that prove them.

use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::{env, fs, io};

/// Where the vectors of a preset begin: they are the last of its file, and for tests.
const VECTORS: &str = "\nvectors:\n";

fn main() -> io::Result<()> {
    let root = PathBuf::from(env::var_os("CARGO_MANIFEST_DIR").unwrap_or_default());
    let out = PathBuf::from(env::var_os("OUT_DIR").unwrap_or_default());
    for name in ["providers", "polls"] {
        let folder = root.join("conf").join(name);
        println!("cargo:rerun-if-changed={}", folder.display());
        fs::write(out.join(name).with_extension("rs"), table(&folder)?)?;
    }
    Ok(())
}

fn table(folder: &Path) -> io::Result<String> {
    let mut files: Vec<PathBuf> = fs::read_dir(folder)?
        .map(|entry| entry.map(|entry| entry.path()))
        .collect::<Result<_, _>>()?;
    files.retain(|path| {
        path.extension()
            .is_some_and(|extension| extension == "yaml")
    });
    files.sort();
    let mut table = String::from("const FILES: &[(&str, &str)] = &[\n");
    for path in files {
        let name = path
            .file_stem()
            .unwrap_or_default()
            .to_string_lossy()
            .into_owned();
        let text = fs::read_to_string(&path)?;
        let text = match text.split_once(VECTORS) {
            Some((preset, _)) => format!("{preset}\n"),
            None => text,
        };
        let _ = writeln!(table, "    ({name:?}, {text:?}),");
    }
    table.push_str("];\n");
    Ok(table)
}
