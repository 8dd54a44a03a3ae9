//! `outlive-chaos`: what `cargo xtask chaos` starts.

#[cfg(not(target_os = "linux"))]
fn main() -> std::process::ExitCode {
    eprintln!("error: cargo xtask chaos needs Linux: network namespaces and signals to processes");
    std::process::ExitCode::from(3)
}

#[cfg(target_os = "linux")]
fn main() -> std::process::ExitCode {
    command::main()
}

#[cfg(target_os = "linux")]
mod command {
    use std::path::PathBuf;
    use std::process::ExitCode;
    use std::time::Duration;

    use clap::Parser;
    use outlive_chaos::{ChaosError, Kind, Options, Workload, on_interrupt, run};

    const FAILED: u8 = 1;
    const USAGE: u8 = 2;
    const MISSING: u8 = 3;
    const INTERRUPTED: u8 = 130;

    /// Real processes under chaos: a unit, its manager, a pair of three and clients, each on a host of its own; faults drawn from a
    /// seed; and a judgement by what clients were told
    ///
    /// Exit codes: 0 all holds, 1 something does not (logs and histories are kept in a folder that is named), 2 wrong usage, 3 something
    /// is missing on this machine (it says what), 130 interrupted. The plan of faults is a function of the seed; the timing of real processes is not.
    #[derive(Debug, Parser)]
    #[command(name = "cargo xtask chaos", version)]
    struct Arguments {
        /// How long faults are made, in minutes (0.5 is half of one)
        #[arg(long, default_value = "1", value_parser = minutes)]
        minutes: Duration,
        /// The first seed; by default another each time
        #[arg(long)]
        seed: Option<u64>,
        /// So many seeds one after the other, which share the time
        #[arg(long, default_value = "1", value_parser = clap::value_parser!(u32).range(1..))]
        seeds: u32,
        /// Kinds of faults, or `all`, or `none`
        #[arg(long, value_name = "LIST", default_value = "all")]
        faults: String,
        /// Kinds that are left out
        #[arg(long, value_name = "LIST", value_delimiter = ',')]
        without: Vec<Kind>,
        /// Clients of the pair
        #[arg(long, default_value = "6", value_parser = clap::value_parser!(u16).range(1..=200))]
        clients: u16,
        /// Members of the pair
        #[arg(long, default_value = "3", value_parser = clap::value_parser!(u8).range(2..=9))]
        members: u8,
        /// What clients do: registers, counters, sets, checkpoints
        #[arg(long, value_name = "LIST", value_delimiter = ',')]
        workload: Vec<Workload>,
        /// Unit and manager in one process (`outlive serve`)
        #[arg(long)]
        serve: bool,
        /// No hosts of their own and no small disk: everything on this host, without root; processes are only killed and stopped
        #[arg(long)]
        no_network: bool,
        /// The medium on the disk of the temporary folder (TMPDIR), with real flushes, instead of a small one that can be filled
        #[arg(long)]
        real_disk: bool,
        /// The report as JSON, one line for each seed
        #[arg(long)]
        json: bool,
        /// Keep logs and histories also when everything holds
        #[arg(long)]
        keep: bool,
        /// The `outlive` program under test, if not the one beside this program
        #[arg(long)]
        program: Option<PathBuf>,
    }

    pub(crate) fn main() -> ExitCode {
        let arguments = Arguments::parse();
        let options = match options(&arguments) {
            Ok(options) => options,
            Err(why) => {
                eprintln!("error: {why}");
                return ExitCode::from(USAGE);
            }
        };
        let interrupted = match on_interrupt() {
            Ok(interrupted) => interrupted,
            Err(error) => {
                eprintln!("error: signals cannot be caught: {error}");
                return ExitCode::from(FAILED);
            }
        };
        for number in 0..arguments.seeds {
            let mut options = options.clone();
            options.seed = options.seed.wrapping_add(u64::from(number));
            match run(&options, &interrupted) {
                Ok(report) => {
                    if arguments.json {
                        println!("{}", serde_json::to_string(&report).unwrap_or_default());
                    } else {
                        println!("{report}");
                    }
                    if !report.holds() {
                        eprintln!("error: something does not hold; seed {}", options.seed);
                        return ExitCode::from(FAILED);
                    }
                }
                Err(error) => return failed(&error, options.seed),
            }
        }
        ExitCode::SUCCESS
    }

    fn failed(error: &ChaosError, seed: u64) -> ExitCode {
        let source = std::error::Error::source(error).map_or(String::new(), |why| format!(": {why}"));
        eprintln!("error: {error}{source} (seed {seed})");
        ExitCode::from(match error {
            ChaosError::Interrupted => INTERRUPTED,
            missing if missing.is_missing_something() => {
                eprintln!(
                    "hint: --no-network needs neither root nor namespaces, and only kills and stops processes"
                );
                MISSING
            }
            _ => FAILED,
        })
    }

    fn options(arguments: &Arguments) -> Result<Options, String> {
        let program = match &arguments.program {
            Some(program) => program.clone(),
            None => std::env::current_exe()
                .map_err(|error| format!("this program's own path is not known: {error}"))?
                .with_file_name("outlive"),
        };
        if !program.is_file() {
            return Err(format!("there is no program {}", program.display()));
        }
        let faults = match arguments.faults.as_str() {
            "all" => Kind::ALL.to_vec(),
            "none" => Vec::new(),
            list => list.split(',').map(str::parse).collect::<Result<_, _>>()?,
        };
        let mut options = Options::new(program, arguments.seed.unwrap_or_else(another_seed));
        options.time = arguments.minutes / arguments.seeds;
        options.faults = faults;
        options.faults.retain(|kind| !arguments.without.contains(kind));
        options.clients = usize::from(arguments.clients);
        options.members = usize::from(arguments.members);
        if !arguments.workload.is_empty() {
            options.workloads.clone_from(&arguments.workload);
        }
        options.serve = arguments.serve;
        options.network = !arguments.no_network;
        options.disk = !arguments.no_network && !arguments.real_disk;
        options.keep = arguments.keep;
        options.tell = true;
        Ok(options)
    }

    fn minutes(text: &str) -> Result<Duration, String> {
        let minutes: f64 = text
            .parse()
            .map_err(|_| "a number of minutes is needed".to_owned())?;
        match Duration::try_from_secs_f64(minutes * 60.0) {
            Ok(time) if !time.is_zero() => Ok(time),
            _ => Err("it must be above 0".to_owned()),
        }
    }

    /// Any number that was hardly ever used before.
    fn another_seed() -> u64 {
        let since = std::time::SystemTime::UNIX_EPOCH.elapsed().unwrap_or_default();
        since.as_secs() % 1_000_000
    }

    #[cfg(test)]
    mod tests {
        use super::*;

        #[test]
        fn the_usage_is_sound() {
            <Arguments as clap::CommandFactory>::command().debug_assert();
        }
    }
}
