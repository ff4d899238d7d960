//! Which process of how many this one is. Comes in: what launchers leave in the environment. Goes out: a
//! [`Distributed`]. Fails on half of a pair, and on numbers that cannot be: guessing would mean reading the wrong share.

use std::fmt;

use crate::{Error, Result};

/// Rank and world size of this process, and who said so.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Distributed {
    /// This process, below `world_size`.
    pub rank: usize,
    /// Number of processes.
    pub world_size: usize,
    /// This process among those of its machine, which usually is the number of its GPU, if the launcher says.
    pub local_rank: Option<usize>,
    /// Number of processes on its machine, if the launcher says.
    pub local_world_size: Option<usize>,
    /// Who said so.
    pub launcher: Launcher,
}

/// Who started the processes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Launcher {
    /// Nobody: one process.
    SingleProcess,
    /// torchrun, DeepSpeed, Accelerate: `RANK` and `WORLD_SIZE`.
    Torchrun,
    /// `srun`: `SLURM_PROCID` and `SLURM_STEP_NUM_TASKS` of a job step.
    Slurm,
    /// `mpirun` of Open MPI: `OMPI_COMM_WORLD_RANK` and `OMPI_COMM_WORLD_SIZE`.
    OpenMpi,
    /// `mpiexec` of MPICH or Intel MPI: `PMI_RANK` and `PMI_SIZE`.
    Mpich,
}

/// The variables of one launcher: rank, world size, rank and world size on the machine.
struct Names(Launcher, [&'static str; 4]);

/// The innermost first: torchrun and `mpirun` start one process on each machine through `srun`, whose variables all their
/// ranks inherit.
const LAUNCHERS: [Names; 4] = [
    Names(Launcher::Torchrun, ["RANK", "WORLD_SIZE", "LOCAL_RANK", "LOCAL_WORLD_SIZE"]),
    Names(
        Launcher::OpenMpi,
        ["OMPI_COMM_WORLD_RANK", "OMPI_COMM_WORLD_SIZE", "OMPI_COMM_WORLD_LOCAL_RANK", "OMPI_COMM_WORLD_LOCAL_SIZE"],
    ),
    Names(Launcher::Mpich, ["PMI_RANK", "PMI_SIZE", "MPI_LOCALRANKID", "MPI_LOCALNRANKS"]),
    Names(Launcher::Slurm, ["SLURM_PROCID", "SLURM_STEP_NUM_TASKS", "SLURM_LOCALID", ""]),
];

impl Distributed {
    /// One process, alone.
    pub fn alone() -> Self {
        Self { rank: 0, world_size: 1, local_rank: None, local_world_size: None, launcher: Launcher::SingleProcess }
    }

    /// What the launcher of this process says, of torchrun, `srun`, Open MPI, MPICH and Intel MPI; alone if there is
    /// none. The library never looks at the environment by itself: call this, and hand the result to
    /// [`LoaderBuilder::distributed`](crate::LoaderBuilder::distributed).
    ///
    /// A batch script of Slurm that does not call `srun` is alone, whatever the job's number of tasks, and so is each
    /// task of a job array or of an Indexed Job of Kubernetes.
    ///
    /// # Errors
    /// If only one of rank and world size is there, one is not a number, or the rank is not below the world size.
    pub fn from_env() -> Result<Self> {
        Self::from_variables(|name| std::env::var(name).ok())
    }

    /// The same of any set of variables.
    ///
    /// # Errors
    /// As [`Distributed::from_env`].
    pub fn from_variables(get: impl Fn(&str) -> Option<String>) -> Result<Self> {
        let get = |name: &str| get(name).filter(|value| !value.trim().is_empty());
        for Names(launcher, names) in &LAUNCHERS {
            let [rank, world_size, local_rank, local_world_size] = names.map(|name| (name, get(name)));
            // A batch script has the job's variables, but is no step of it; nor is a task of a job array.
            if *launcher == Launcher::Slurm && get("SLURM_STEP_ID").is_none() {
                continue;
            }
            let (rank, world_size) = match (number(&rank)?, number(&world_size)?) {
                (Some(rank), Some(world_size)) => (rank, world_size),
                (None, None) => continue,
                (Some(_), None) => return Err(half(rank.0, world_size.0)),
                (None, Some(_)) => return Err(half(world_size.0, rank.0)),
            };
            if rank >= world_size {
                return Err(Error::config(format!(
                    "{} is {rank}, which is not below {}, {world_size}",
                    names[0], names[1]
                )));
            }
            let (local_rank, local_world_size) = (number(&local_rank)?, number(&local_world_size)?);
            return Ok(Self { rank, world_size, local_rank, local_world_size, launcher: *launcher });
        }
        Ok(Self::alone())
    }
}

fn number((name, value): &(&str, Option<String>)) -> Result<Option<usize>> {
    let parse = |text: &String| {
        text.trim()
            .parse()
            .map_err(|_| Error::config(format!("the environment variable {name} is \"{text}\", no number")))
    };
    value.as_ref().map(parse).transpose()
}

fn half(there: &str, missing: &str) -> Error {
    Error::config(format!(
        "the environment variable {there} is set, but {missing} is not: set both, or neither, or give rank and world size yourself"
    ))
}

impl fmt::Display for Distributed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { rank, world_size, launcher, .. } = self;
        let launcher = match launcher {
            Launcher::SingleProcess => return f.write_str("one process"),
            Launcher::Torchrun => "torchrun",
            Launcher::Slurm => "srun",
            Launcher::OpenMpi => "Open MPI",
            Launcher::Mpich => "MPICH or Intel MPI",
        };
        write!(f, "rank {rank} of {world_size}, by {launcher}")
    }
}
