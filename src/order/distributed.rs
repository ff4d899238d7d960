//! Rank and world size of this process, from the environment variables that launchers set.
//!
//! Half a pair of variables and impossible numbers are errors: a guess would read another rank's share.

use std::fmt;

use crate::{Error, Result};

/// Rank and world size of this process, and the launcher that set them. Pass it to
/// [`LoaderBuilder::distributed`](crate::LoaderBuilder::distributed).
///
/// From the environment, under torchrun, `srun`, Open MPI, MPICH or Intel MPI:
///
/// ```no_run
/// use maskstream::{Distributed, Loader};
///
/// let distributed = Distributed::from_env()?;
/// println!("{distributed}"); // such as "rank 3 of 8, by torchrun"
/// let builder = Loader::builder().batch_size(16).distributed(&distributed);
/// # Ok::<(), maskstream::Error>(())
/// ```
///
/// By hand, for another launcher:
///
/// ```
/// use maskstream::Distributed;
///
/// let mut distributed = Distributed::single_process();
/// (distributed.rank, distributed.world_size) = (3, 8);
/// assert_eq!(distributed.to_string(), "rank 3 of 8");
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Distributed {
    /// Rank of this process, below `world_size`.
    pub rank: usize,
    /// Number of processes.
    pub world_size: usize,
    /// Rank among the processes of this machine, usually the index of the GPU to use. `None` if the launcher does not
    /// set it.
    pub local_rank: Option<usize>,
    /// Number of processes on this machine. `None` if the launcher does not set it.
    pub local_world_size: Option<usize>,
    /// The launcher whose variables were read.
    pub launcher: Launcher,
}

/// The program that started the processes, known by its environment variables.
///
/// ```
/// use maskstream::{Distributed, Launcher};
///
/// let environment = [("RANK", "5"), ("WORLD_SIZE", "8"), ("LOCAL_RANK", "1")];
/// let get = |name: &str| environment.iter().find(|(key, _)| *key == name).map(|(_, value)| (*value).to_owned());
/// let distributed = Distributed::from_variables(get)?;
/// assert_eq!(distributed.launcher, Launcher::Torchrun);
/// assert_eq!((distributed.rank, distributed.world_size, distributed.local_rank), (5, 8, Some(1)));
/// # Ok::<(), maskstream::Error>(())
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Launcher {
    /// No launcher: the process runs by itself.
    SingleProcess,
    /// torchrun, DeepSpeed and Accelerate: `RANK` and `WORLD_SIZE`.
    Torchrun,
    /// `srun`: `SLURM_PROCID` and `SLURM_STEP_NUM_TASKS` of a job step.
    Slurm,
    /// `mpirun` of Open MPI: `OMPI_COMM_WORLD_RANK` and `OMPI_COMM_WORLD_SIZE`.
    OpenMpi,
    /// `mpiexec` of MPICH or Intel MPI: `PMI_RANK` and `PMI_SIZE`.
    Mpich,
}

/// The variables of one launcher: rank, world size, local rank and local world size.
struct LauncherVariables(Launcher, [&'static str; 4]);

/// The innermost launcher first. torchrun and `mpirun` start one process on each machine through `srun`, and all their
/// ranks inherit its variables.
const LAUNCHERS: [LauncherVariables; 4] = [
    LauncherVariables(Launcher::Torchrun, ["RANK", "WORLD_SIZE", "LOCAL_RANK", "LOCAL_WORLD_SIZE"]),
    LauncherVariables(
        Launcher::OpenMpi,
        ["OMPI_COMM_WORLD_RANK", "OMPI_COMM_WORLD_SIZE", "OMPI_COMM_WORLD_LOCAL_RANK", "OMPI_COMM_WORLD_LOCAL_SIZE"],
    ),
    LauncherVariables(Launcher::Mpich, ["PMI_RANK", "PMI_SIZE", "MPI_LOCALRANKID", "MPI_LOCALNRANKS"]),
    LauncherVariables(Launcher::Slurm, ["SLURM_PROCID", "SLURM_STEP_NUM_TASKS", "SLURM_LOCALID", ""]),
];

impl Distributed {
    /// A process that runs by itself: rank 0 of 1.
    pub fn single_process() -> Self {
        Self { rank: 0, world_size: 1, local_rank: None, local_world_size: None, launcher: Launcher::SingleProcess }
    }

    /// Reads the variables of torchrun, `srun`, Open MPI, MPICH or Intel MPI. Without any of them, it is a single
    /// process.
    ///
    /// The library never reads the environment by itself: call this, and pass the result to
    /// [`LoaderBuilder::distributed`](crate::LoaderBuilder::distributed).
    ///
    /// A Slurm batch script that does not call `srun` is a single process, whatever the job's number of tasks. So is
    /// each task of a job array, and of an Indexed Job of Kubernetes.
    ///
    /// # Errors
    /// If only one of rank and world size is set, a value is not a number, or the rank is not below the world size.
    pub fn from_env() -> Result<Self> {
        Self::from_variables(|name| std::env::var(name).ok())
    }

    /// As [`Distributed::from_env`], with variables from `get`.
    ///
    /// # Errors
    /// As [`Distributed::from_env`].
    pub fn from_variables(get: impl Fn(&str) -> Option<String>) -> Result<Self> {
        let get = |name: &str| get(name).filter(|value| !value.trim().is_empty());
        for LauncherVariables(launcher, names) in &LAUNCHERS {
            let [rank, world_size, local_rank, local_world_size] = names.map(|name| (name, get(name)));
            // Batch scripts and tasks of job arrays have the job's variables, but are not part of a step.
            if *launcher == Launcher::Slurm && get("SLURM_STEP_ID").is_none() {
                continue;
            }
            let (rank, world_size) = match (number(&rank)?, number(&world_size)?) {
                (Some(rank), Some(world_size)) => (rank, world_size),
                (None, None) => continue,
                (Some(_), None) => return Err(incomplete_pair(rank.0, world_size.0)),
                (None, Some(_)) => return Err(incomplete_pair(world_size.0, rank.0)),
            };
            if rank >= world_size {
                let [rank_name, world_name, ..] = names;
                return Err(Error::config(format!(
                    "{rank_name} is {rank}, which is not below {world_name}, {world_size}"
                )));
            }
            let (local_rank, local_world_size) = (number(&local_rank)?, number(&local_world_size)?);
            return Ok(Self { rank, world_size, local_rank, local_world_size, launcher: *launcher });
        }
        Ok(Self::single_process())
    }
}

/// The number in a variable, if it is set.
fn number((name, value): &(&str, Option<String>)) -> Result<Option<usize>> {
    let parse = |text: &String| {
        text.trim()
            .parse()
            .map_err(|_| Error::config(format!("the environment variable {name} is \"{text}\", not a number")))
    };
    value.as_ref().map(parse).transpose()
}

fn incomplete_pair(set: &str, missing: &str) -> Error {
    Error::config(format!(
        "the environment variable {set} is set, but {missing} is not: set both or neither, or give the loader its rank \
         and world size by hand"
    ))
}

impl fmt::Display for Distributed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { rank, world_size, launcher, .. } = self;
        let launcher = match launcher {
            Launcher::SingleProcess if *world_size == 1 => return f.write_str("one process"),
            Launcher::SingleProcess => return write!(f, "rank {rank} of {world_size}"),
            Launcher::Torchrun => "torchrun",
            Launcher::Slurm => "srun",
            Launcher::OpenMpi => "Open MPI",
            Launcher::Mpich => "MPICH or Intel MPI",
        };
        write!(f, "rank {rank} of {world_size}, by {launcher}")
    }
}
