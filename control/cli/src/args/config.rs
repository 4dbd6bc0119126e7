//! The verbs of the configuration as a whole, and the terms on which a file is applied.

use std::path::PathBuf;

use clap::{Args, Subcommand, ValueHint, value_parser};
use clap_complete::engine::ArgValueCandidates as Offer;
use weir_proto::confirm::Guard;
use weir_proto::request::HISTORY_MAX;
use weir_proto::spec::Span;

use super::ChangeArgs;
use crate::complete;

/// The effect of a file on changes at run time.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Args)]
pub(crate) struct MergeArgs {
    /// Where the file and a change at run time disagree, keep what is in force (otherwise: exit 7)
    #[arg(long)]
    pub(crate) ours: bool,
    /// Where they disagree, take the file
    #[arg(long, conflicts_with = "ours")]
    pub(crate) theirs: bool,
    /// Make the file the whole truth: undo every change at run time, and say which
    #[arg(long, conflicts_with_all = ["ours", "theirs"])]
    pub(crate) replace: bool,
    /// Set only what the file names, as several set verbs would in one version; "" takes away; all
    /// else stays
    #[arg(long, conflicts_with_all = ["ours", "theirs", "replace"])]
    pub(crate) partial: bool,
    /// Even if every listener, every backend of a pool or more than half of all backends goes
    #[arg(long)]
    pub(crate) force: bool,
}

/// The terms on which a file is applied.
#[derive(Clone, Debug, Default, PartialEq, Eq, Args)]
pub(crate) struct ConfirmArgs {
    /// Roll back by itself unless `weirctl config confirm` comes within DURATION, such as 30s
    #[arg(long, value_name = "DURATION")]
    pub(crate) confirm: Option<Span>,
    /// Roll back at once if more connects fail (connect-errors=1%) or fewer backends of a pool are
    /// up (healthy=50%); may be there several times
    #[arg(long, value_name = "WHAT=PERCENT", requires = "confirm")]
    pub(crate) guard: Vec<Guard>,
}

#[derive(Debug, Subcommand)]
pub(crate) enum ConfigVerb {
    /// The current configuration, with its version
    Show,
    /// A configuration as TOML, ready for apply: the current one, or an older VERSION
    Export {
        /// An older version; the current one if it is left out
        #[arg(add = Offer::new(complete::versions))]
        version: Option<u64>,
    },
    /// The versions that are kept, the newest first: when, by whom, what
    History {
        /// At most N of them; 1000 if it is left out
        #[arg(long, value_name = "N", value_parser = value_parser!(u64).range(1..=HISTORY_MAX))]
        limit: Option<u64>,
        /// Only those before this version
        #[arg(
            long,
            value_name = "VERSION",
            value_parser = value_parser!(u64).range(1..),
            add = Offer::new(complete::versions)
        )]
        before: Option<u64>,
    },
    /// The versions under which open sessions were accepted, and the current one
    Versions,
    /// Show what a file would change, how two versions differ, or how the configuration in force
    /// differs from the file as it was last applied (exit 3 if there is anything)
    Diff {
        /// A file (- is stdin), or a version; the file as it was last applied if it is left out
        #[arg(value_name = "FILE|VERSION", value_hint = ValueHint::FilePath)]
        target: Option<String>,
        /// The version to compare that version with, in place of the current one
        #[arg(
            value_name = "VERSION",
            value_parser = value_parser!(u64).range(1..),
            add = Offer::new(complete::versions)
        )]
        to: Option<u64>,
    },
    /// Merge a file (- is stdin) into what is in force; what was changed at run time stays
    Apply {
        /// The file
        #[arg(value_hint = ValueHint::FilePath)]
        file: PathBuf,
        #[command(flatten)]
        merge: MergeArgs,
        #[command(flatten)]
        confirm: ConfirmArgs,
        #[command(flatten)]
        change: ChangeArgs,
    },
    /// Keep the version that waits for it (config apply --confirm)
    Confirm {
        #[command(flatten)]
        change: ChangeArgs,
    },
    /// Edit what is in force with $VISUAL, else $EDITOR, else vi; checked before it is applied
    Edit {
        /// Even if every listener, every backend of a pool or more than half of all backends goes
        #[arg(long)]
        force: bool,
        #[command(flatten)]
        change: ChangeArgs,
    },
    /// Make an older version the next one
    Rollback {
        /// The version, see config history
        #[arg(add = Offer::new(complete::versions))]
        version: u64,
        #[command(flatten)]
        change: ChangeArgs,
    },
}
