//! Limits of each source: `tcp-request … reject if { src_conn_cur gt N }` and its like, with the
//! stick table that counts for them.

use weir_proto::spec::{PerSourceSpec, Rate};

use crate::init::units;

/// The limits of sources in a section.
#[derive(Clone, Debug, Default)]
pub(super) struct SourceLimits {
    pub(super) limits: PerSourceSpec,
    /// Milliseconds of the period of `conn_rate`.
    period_ms: Option<u64>,
}

impl SourceLimits {
    /// `stick-table … store conn_cur,conn_rate(10s)`. False if it counts something else, too.
    pub(super) fn stick_table(&mut self, words: &[&str]) -> bool {
        let Some(at) = words.iter().position(|word| *word == "store") else { return false };
        let Some(stored) = words.get(at + 1) else { return false };
        stored.split(',').all(|data| match data.strip_prefix("conn_rate(") {
            Some(period) => {
                self.period_ms = units::haproxy_millis(period.trim_end_matches(')'));
                self.period_ms.is_some()
            }
            None => data == "conn_cur",
        })
    }

    /// `reject if { src_conn_cur gt N }`. False if it is something else.
    pub(super) fn reject(&mut self, condition: &[&str]) -> bool {
        let ["if", "{", fetch, operator, count, "}"] = condition else { return false };
        let most = match (*operator, count.parse::<u32>()) {
            // The connection that is asked about is counted.
            ("gt", Ok(count)) if count > 0 => count,
            ("ge", Ok(count)) if count > 1 => count - 1,
            _ => return false,
        };
        match name_of(fetch) {
            Some("conn_cur") => {
                let before = self.limits.sessions.unwrap_or(u32::MAX);
                self.limits.sessions = Some(before.min(most));
                true
            }
            Some("conn_rate") => {
                let Some(period) = self.period_ms.filter(|period| *period > 0) else {
                    return false;
                };
                let each_second = (u64::from(most) * 1000).div_ceil(period);
                let each_second = u32::try_from(each_second).unwrap_or(u32::MAX);
                let rate = Rate::per_second(each_second);
                self.limits.rate = Some(self.limits.rate.map_or(rate, |it| it.min(rate)));
                true
            }
            _ => false,
        }
    }
}

/// `conn_cur` of `src_conn_cur`, `sc0_conn_cur` and `sc_conn_cur(0)`.
fn name_of(fetch: &str) -> Option<&str> {
    let fetch = fetch.split_once('(').map_or(fetch, |(name, _)| name);
    let (counter, name) = fetch.split_once('_')?;
    ["src", "sc", "sc0", "sc1", "sc2"].contains(&counter).then_some(name)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn words(text: &str) -> Vec<&str> {
        text.split_whitespace().collect()
    }

    #[test]
    fn what_counts_connections_of_a_source_is_a_limit_of_it() {
        let mut sources = SourceLimits::default();
        assert!(!sources.reject(&words("if { src_conn_rate gt 9 }")), "no period is known");
        let table = "stick-table type ip size 1m expire 30s store conn_cur,conn_rate(10s)";
        assert!(sources.stick_table(&words(table)));
        assert!(sources.reject(&words("if { src_conn_cur gt 50 }")));
        assert!(sources.reject(&words("if { sc0_conn_cur ge 41 }")));
        assert!(sources.reject(&words("if { sc_conn_rate(0) gt 101 }")));
        assert_eq!(
            (sources.limits.sessions, sources.limits.rate),
            (Some(40), Some(Rate::per_second(11)))
        );
        for other in [
            "if { src_bytes_in_rate gt 9 }",
            "if { src_conn_cur lt 9 }",
            "if { src_conn_cur gt 0 }",
            "unless { src_conn_cur gt 9 }",
            "if { src_conn_cur gt 9 } { src 10.0.0.0/8 }",
        ] {
            assert!(!sources.reject(&words(other)), "{other}");
        }
        assert!(!sources.stick_table(&words("stick-table type ip size 1m store gpc0,conn_cur")));
    }
}
