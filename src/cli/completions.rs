//! `maskstream completions` and `maskstream man`: what a shell and `man` know of the command, made from its arguments.

use std::fs;
use std::io::stdout;
use std::path::PathBuf;

use clap::CommandFactory;
use clap_complete::Shell;

use super::output::{Outcome, StdoutError};
use super::target::Target;

/// Print a script that lets a shell complete this command's arguments
#[derive(clap::Args)]
#[command(after_long_help = COMPLETIONS)]
pub(super) struct CompletionsArgs {
    /// The shell
    #[arg(value_enum)]
    shell: Shell,
}

const COMPLETIONS: &str = "\
Where shells look for it:
  maskstream completions bash > ~/.local/share/bash-completion/completions/maskstream
  maskstream completions zsh  > ~/.zfunc/_maskstream    (with fpath+=~/.zfunc)
  maskstream completions fish > ~/.config/fish/completions/maskstream.fish";

/// Write the manual pages of this command and its subcommands into a directory
#[derive(clap::Args)]
#[command(after_long_help = MAN)]
pub(super) struct ManArgs {
    /// Directory, which is made if it does not exist
    dir: PathBuf,
    /// Overwrite pages that exist
    #[arg(long)]
    force: bool,
}

const MAN: &str = "\
Example:
  maskstream man ~/.local/share/man/man1
  man maskstream-index";

pub(super) fn completions<C: CommandFactory>(args: &CompletionsArgs) -> Outcome {
    let mut script = Vec::new();
    clap_complete::generate(args.shell, &mut C::command(), "maskstream", &mut script);
    Ok(std::io::Write::write_all(&mut stdout(), &script).map_err(StdoutError)?)
}

pub(super) fn man<C: CommandFactory>(args: &ManArgs) -> Outcome {
    if args.dir.exists() && !args.dir.is_dir() {
        return Err(format!("{} is no directory: name one for the pages", args.dir.display()).into());
    }
    fs::create_dir_all(&args.dir).map_err(|e| format!("cannot create {}: {e}", args.dir.display()))?;
    let mut command = C::command();
    // Gives subcommands the names of their pages, such as maskstream-index.
    command.build();
    let subcommands = command.get_subcommands().filter(|page| page.get_name() != "help");
    for page in std::iter::once(&command).chain(subcommands) {
        let path = args.dir.join(format!("{}.1", page.get_display_name().unwrap_or(page.get_name())));
        let target = Target::new(&path, args.force, Vec::new())?;
        target.write(|out| clap_mangen::Man::new(page.clone()).render(out))?;
        say!("wrote {}", path.display());
    }
    Ok(())
}
