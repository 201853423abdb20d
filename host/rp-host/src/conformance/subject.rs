//! Finding the component that is to be tested.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use rp_engine::interface_version;
use rp_packages::{MANIFEST, Package, WASM};
use rp_protocol::component::{ComponentId, Manifest, Permit};

use super::report::Checks;
use crate::{
    components::{ChainSettings, what_ships},
    files,
    paths::StateRoot,
    problem::{Problem, While},
};

/// A component as its author hands it over.
pub struct Subject {
    /// What it says of itself.
    pub manifest: Manifest,
    /// Its code.
    pub wasm: Arc<[u8]>,
    /// Of its code.
    pub sha256: String,
    /// The settings that the host would give it, a JSON object.
    pub settings: String,
    /// Where it was found.
    pub folder: Option<PathBuf>,
    signer: String,
    /// As it was read; a component that ships has none.
    package: Option<Package>,
}

/// Finds a folder, an archive, or a component that is installed or ships. The inner error says why
/// it is not a package.
pub fn find(root: &StateRoot, what: &str) -> Result<Result<Subject, String>, Problem> {
    let path = Path::new(what);
    let package = if path.is_dir() && is_source_of_what_ships(path) {
        return shipped(root, &source_id(path)?, Some(path.to_owned())).map(Ok);
    } else if path.is_dir() {
        Package::read(path)
    } else if path.is_file() {
        Package::unpack(std::fs::File::open(path).doing(format!("read {what}"))?)
    } else {
        return by_id(root, what);
    };
    let folder = path.is_dir().then(|| path.to_owned());
    match package {
        Ok(package) => Subject::new(root, package, folder).map(Ok),
        Err(error) => Ok(Err(error.to_string())),
    }
}

fn by_id(root: &StateRoot, what: &str) -> Result<Result<Subject, String>, Problem> {
    let unknown = || {
        Problem::usage(format!("there is no folder, archive or component {what}"))
            .hint("`rp-host component list` lists the ids; a project is built before it is tested")
    };
    let id = ComponentId::parse(what).ok_or_else(unknown)?;
    for folder in [root.components_in_force(), root.components()] {
        let folder = folder.join(id.as_str());
        if folder.is_dir() {
            return Ok(match Package::read(&folder) {
                Ok(package) => Ok(Subject::new(root, package, Some(folder))?),
                Err(error) => Err(error.to_string()),
            });
        }
    }
    what_ships(&id).ok_or_else(unknown)?;
    shipped(root, &id, None).map(Ok)
}

/// A folder of this program's own sources: what is built of it is inside the program.
fn is_source_of_what_ships(folder: &Path) -> bool {
    let has_code = folder.join(WASM).exists();
    !has_code && source_id(folder).is_ok_and(|id| what_ships(&id).is_some())
}

fn source_id(folder: &Path) -> Result<ComponentId, Problem> {
    let text = std::fs::read_to_string(folder.join(MANIFEST)).doing("read the manifest")?;
    Ok(Manifest::parse(&text).doing("read the manifest")?.id)
}

fn shipped(
    root: &StateRoot,
    id: &ComponentId,
    folder: Option<PathBuf>,
) -> Result<Subject, Problem> {
    let embedded = what_ships(id).ok_or_else(|| Problem::failed(format!("{id} does not ship")))?;
    Ok(Subject {
        manifest: Manifest::parse(embedded.manifest).doing("read the manifest")?,
        wasm: embedded.bytes.into(),
        sha256: files::sha256(embedded.bytes),
        settings: settings(root, id)?,
        folder,
        signer: "ships with this program".to_owned(),
        package: None,
    })
}

fn settings(root: &StateRoot, id: &ComponentId) -> Result<String, Problem> {
    Ok(ChainSettings::load(&root.policy_settings())?.of(id.as_str()))
}

impl Subject {
    fn new(root: &StateRoot, package: Package, folder: Option<PathBuf>) -> Result<Self, Problem> {
        Ok(Subject {
            settings: settings(root, &package.manifest.id)?,
            sha256: files::sha256(&package.wasm),
            folder,
            signer: package.publisher.to_string(),
            wasm: Arc::clone(&package.wasm),
            manifest: package.manifest.clone(),
            package: Some(package),
        })
    }

    /// One file of it, to install it elsewhere; nothing for one that ships.
    pub fn archive(&self) -> Result<Option<Vec<u8>>, Problem> {
        let packed = self.package.as_ref().map(Package::pack);
        packed.transpose().doing("pack the component")
    }

    /// The recordings that it brings along.
    pub fn transcripts(&self) -> Option<PathBuf> {
        let folder = self.folder.as_ref()?.join("transcripts");
        folder.is_dir().then_some(folder)
    }

    /// Everything that it asks for.
    pub fn permits(&self) -> Vec<Permit> {
        self.manifest.permits()
    }

    /// It asks for a permission of this name.
    pub fn asks_for(&self, name: &str) -> bool {
        self.permits().iter().any(|permit| permit.name() == name)
    }

    /// How large its code is.
    pub fn size(&self) -> String {
        format!("{:.2} MB", self.wasm.len() as f64 / 1e6)
    }

    /// The memory that an instance had at most, of what it may have.
    pub fn memory(&self, most: usize, usual: usize) -> String {
        let limit = self.manifest.memory_mib.map_or(usual, |mib| (mib as usize) << 20);
        format!("{:.1} MiB of {} MiB", most as f64 / f64::from(1 << 20), limit >> 20)
    }

    /// What was checked of the manifest when it was read, and what only this program can check.
    pub fn check_manifest(&self, checks: &mut Checks) {
        let Manifest { world, .. } = &self.manifest;
        let permits: Vec<String> = self.permits().iter().map(ToString::to_string).collect();
        let asks = match permits.as_slice() {
            [] => "it asks for nothing".to_owned(),
            permits => format!("it asks for {}", permits.join(", ")),
        };
        checks.ok("the manifest is valid", format!("{asks}; {}", self.signer));
        let known = interface_version();
        if world.version.to_string() != known {
            let expected = format!("{}@{known}", world.name);
            checks.failed("its world is one of this program", expected, world);
        }
    }

    /// What it imports, and what of that is of no use to it.
    pub fn imports(&self, imports: &[String]) -> String {
        let store = imports.iter().any(|import| import.starts_with("rp:plugin/store"));
        let named: Vec<&str> = imports.iter().map(String::as_str).collect();
        let named = match named.as_slice() {
            [] => "nothing".to_owned(),
            named => named.join(", "),
        };
        if store && !self.asks_for("store") {
            return format!("{named}; its manifest does not ask for store, so that is refused");
        }
        named
    }
}
