//! Checkpoints: one safetensors file with weights, optimizer moments, losses and the loader's cursor.
//!
//! A single file keeps the model's state and the position in the data in step. Reading fails if the file is not a
//! checkpoint or was written with other settings.

use std::fs;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};

use maskstream::Cursor;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::args::{Args, Settings};
use crate::result::Result;
use crate::state_dict::{self, Array, StateDict};

/// Name of the array that holds the losses of all steps.
const LOSSES: &str = "losses";

/// Metadata of a checkpoint: the position in the data, and the options to compare when a run is resumed.
#[derive(Clone, Serialize, Deserialize)]
pub struct CheckpointMeta {
    /// `None` if the shards had no index: then the epoch starts over.
    pub cursor: Option<Cursor>,
    /// Epoch of the last step.
    pub epoch: u64,
    /// [`Settings`] as JSON.
    settings: Value,
    /// File of the initial weights.
    init: Option<PathBuf>,
    /// Patterns of the training shards.
    shards: Vec<String>,
}

impl CheckpointMeta {
    /// The metadata of a run that has not started.
    pub fn new(args: &Args, settings: &Settings) -> Result<Self> {
        let generated = || vec![args.data.display().to_string()];
        let shards = if args.shards.is_empty() { generated() } else { args.shards.clone() };
        Ok(Self { cursor: None, epoch: 0, settings: serde_json::to_value(settings)?, init: args.init.clone(), shards })
    }

    /// The first option that differs between the checkpoint and the current run: its name and both values.
    fn difference<'a>(&'a self, now: &'a Self) -> Option<(&'a str, String, String)> {
        if let (Value::Object(then), Value::Object(now)) = (&self.settings, &now.settings)
            && let Some((name, then)) = then.iter().find(|(name, then)| now.get(*name) != Some(then))
        {
            return Some((name, then.to_string(), now.get(name).unwrap_or(&Value::Null).to_string()));
        }
        if self.init != now.init {
            return Some(("init", format!("{:?}", self.init), format!("{:?}", now.init)));
        }
        // A cursor identifies the samples, so the shards may have moved.
        let has_moved = self.cursor.is_none() && self.shards != now.shards;
        has_moved.then(|| ("shards", format!("{:?}", self.shards), format!("{:?}", now.shards)))
    }
}

/// A checkpoint read from disk.
pub struct Checkpoint {
    pub meta: CheckpointMeta,
    /// Loss of every step.
    pub losses: Vec<f32>,
    /// Weights and optimizer state.
    pub state: StateDict,
}

impl Checkpoint {
    /// Path of the checkpoint in a run's output directory.
    pub fn path(out: &Path) -> PathBuf {
        out.join("checkpoint.safetensors")
    }

    /// Path to which a new run renames the checkpoint of an earlier run.
    pub fn backup_path(out: &Path) -> PathBuf {
        out.join("checkpoint-before.safetensors")
    }

    /// The checkpoint to resume from: `None` without `--resume`, or if none has been written yet.
    pub fn for_resume(args: &Args, settings: &Settings) -> Result<Option<Self>> {
        let exists = args.resume && Self::path(&args.out).try_exists()?;
        exists.then(|| Self::read(args, settings)).transpose()
    }

    /// Reads the checkpoint in `--out`. Fails if it was written with other settings.
    pub fn read(args: &Args, settings: &Settings) -> Result<Self> {
        let path = Self::path(&args.out);
        let (mut state, note) = state_dict::read(&path)?;
        let note = note.ok_or_else(|| format!("{} is not a checkpoint: it holds weights only", path.display()))?;
        let meta: CheckpointMeta = serde_json::from_str(&note)?;
        if let Some((name, then, now)) = meta.difference(&CheckpointMeta::new(args, settings)?) {
            return Err(format!("{} was made with {name} {then}, but {name} is now {now}", path.display()).into());
        }
        let losses = state.remove(LOSSES).map_or_else(Vec::new, |losses| losses.values);
        Ok(Self { meta, losses, state })
    }

    /// Writes a checkpoint to the directory `out`.
    pub fn write(out: &Path, meta: &CheckpointMeta, losses: &[f32], mut state: StateDict) -> Result<()> {
        state.insert(LOSSES.to_owned(), Array::vector(losses.to_vec()));
        state_dict::write(&Self::path(out), &state, Some(serde_json::to_string(meta)?))
    }

    /// Renames the checkpoint of an earlier run, so that it is not mistaken for one of the run that starts.
    pub fn back_up(out: &Path) -> Result<()> {
        let [path, backup] = [Self::path(out), Self::backup_path(out)];
        match fs::rename(&path, &backup) {
            Ok(()) => println!("renamed the checkpoint of an earlier run to {}", backup.display()),
            Err(e) if e.kind() == ErrorKind::NotFound => {}
            Err(e) => return Err(format!("cannot rename {}: {e}", path.display()).into()),
        }
        Ok(())
    }

    /// Number of steps done.
    pub fn steps(&self) -> usize {
        self.losses.len()
    }

    /// Whether it holds a position within its epoch.
    pub fn has_cursor(&self) -> bool {
        self.meta.cursor.is_some()
    }
}
