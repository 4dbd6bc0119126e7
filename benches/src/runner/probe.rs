//! One measurement: run a generator against a proxy and take what the CPU clocks say.

use std::collections::BTreeMap;
use std::fmt::Display;
use std::io;
use std::process::{Command, Stdio};

use serde::de::DeserializeOwned;

use crate::clock::{now_ns, pause};
use crate::runner::machine::MachineTime;
use crate::runner::process::{Backend, Proxy, load_program};
use crate::runner::report::Sample;
use crate::runner::{LOAD_CORE, context, fault};
use crate::sys;

/// Less proxy CPU than this for a unit of work means that the proxy did not do it, in µs.
const PROXY_CPU_MIN_US: f64 = 0.2;
/// With more busy cores before the run, what the machine does says nothing of the work.
const BASELINE_MAX: f64 = 0.25;

/// What a generator says of its run.
pub struct Outcome {
    /// Round trips, connections, gigabytes, requests.
    pub units: f64,
    /// CPU time of the generator, in µs; None: not known (it was not ours).
    pub generator_us: Option<f64>,
    /// What else it measured.
    pub values: BTreeMap<String, f64>,
}

/// The clocks around a run.
pub struct Meter<'a> {
    pub proxy: &'a Proxy,
    pub backends: &'a [Backend],
    /// Busy cores of the machine when nothing runs.
    pub baseline: f64,
}

impl Meter<'_> {
    /// Measures `run` and divides by its units. Checks that the proxy did the work.
    pub fn sample(
        &self,
        round: u32,
        work: &str,
        run: impl FnOnce() -> io::Result<Outcome>,
    ) -> io::Result<Sample> {
        let peer = self.proxy.peer;
        let label = |text: &dyn Display| format!("{work} through {}: {text}", peer.name());
        let (proxy, backend) = (self.proxy.cpu_ns()?, self.backend_ns()?);
        let (machine, start) = (MachineTime::read()?, now_ns());
        let outcome = run().map_err(|error| fault(label(&error)))?;
        let (later, end) = (MachineTime::read()?, now_ns());
        let proxy_us = us(self.proxy.cpu_ns()?.saturating_sub(proxy));
        let backend_us = us(self.backend_ns()?.saturating_sub(backend));
        let (busy_us, steal_us) = machine.until(&later);
        let elapsed_us = us(end - start);
        let units = outcome.units;
        if units <= 0.0 {
            return Err(fault(label(&"no work was done")));
        }
        let mut values = outcome.values;
        let mut put = |name: &str, value: f64| values.insert(name.to_string(), value);
        if self.proxy.program.is_some() {
            if proxy_us / units < PROXY_CPU_MIN_US {
                return Err(fault(label(&"the proxy's CPU clock hardly moved: not its work")));
            }
            put("proxy_cpu_us", proxy_us / units);
        }
        let machine_us = micros(busy_us) - self.baseline * elapsed_us;
        if self.baseline < BASELINE_MAX && machine_us > 0.0 {
            put("machine_cpu_us", machine_us / units);
        }
        put("machine_cpu_raw_us", micros(busy_us) / units);
        if let Some(generator_us) = outcome.generator_us {
            put("processes_cpu_us", (proxy_us + backend_us + generator_us) / units);
            put("generator_cpu_us", generator_us / units);
        }
        put("backend_cpu_us", backend_us / units);
        put("per_s", units / (elapsed_us / 1e6));
        put("elapsed_s", elapsed_us / 1e6);
        put("steal_share", micros(steal_us) / elapsed_us);
        Ok(Sample { round, work: work.to_string(), peer, units, values })
    }

    fn backend_ns(&self) -> io::Result<u64> {
        self.backends.iter().map(|backend| backend.program.cpu_ns()).sum()
    }
}

/// Busy cores of the machine over one second in which this run does nothing.
pub fn baseline() -> io::Result<f64> {
    let (machine, start) = (MachineTime::read()?, now_ns());
    pause(std::time::Duration::from_secs(1));
    let (busy_us, _) = machine.until(&MachineTime::read()?);
    Ok(micros(busy_us) / us(now_ns() - start))
}

/// Runs weir-load on the load core and reads its report; errors in it are an error here.
pub fn load<R: DeserializeOwned>(arguments: &[String]) -> io::Result<R> {
    let text = tool(Command::new(load_program()?).args(arguments))?;
    serde_json::from_str(&text).map_err(|error| fault(format!("weir-load said {text:?}: {error}")))
}

/// Runs a tool on the load core: its stdout, or an error with what it said.
pub fn tool(command: &mut Command) -> io::Result<String> {
    let name = command.get_program().to_string_lossy().into_owned();
    let command = command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let child = sys::spawn_on(command, LOAD_CORE).map_err(context(&name))?;
    let output = child.wait_with_output()?;
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    if !output.status.success() {
        let errors = String::from_utf8_lossy(&output.stderr).into_owned();
        return Err(fault(format!("{name} ended with {}: {text}{errors}", output.status)));
    }
    Ok(text)
}

fn us(ns: u64) -> f64 {
    micros(ns) / 1e3
}

/// A count as a float.
#[must_use]
#[expect(clippy::cast_precision_loss, reason = "exact up to 2^53")]
pub fn micros(number: u64) -> f64 {
    number as f64
}
