//! The tables `[pool.NAME]` and what is in them.

use weir_proto::spec::{
    BackendSpec, HealthKind, HealthSpec, KeepaliveSpec, PoolSpec, RetrySpec, Span, Strategy,
    TimeoutSpec,
};

use super::{ADDRESS_HINT, Reader, Section};
use crate::file::export::kind_word;

impl Reader {
    pub(super) fn pool(&mut self, pool: Section<'_>) -> PoolSpec {
        const KEYS: [&str; 6] = ["strategy", "health", "timeout", "retry", "keepalive", "backend"];
        self.no_others(pool.table, &KEYS);
        let strategies = Strategy::ALL.map(|strategy| (strategy.word(), strategy));
        let strategy = self.word(pool, "strategy", "a strategy", &strategies).unwrap_or_default();
        let health = self.section(pool.table, "health").map(|section| self.health(section));
        let timeout = self.section(pool.table, "timeout").map(|section| self.timeout(section));
        let retry = self.section(pool.table, "retry").map(|section| self.retry(section));
        let mut spec = PoolSpec {
            strategy,
            health: health.unwrap_or_default(),
            timeout: timeout.unwrap_or_default(),
            retry: retry.unwrap_or_default(),
            keepalive: self.keepalive(pool),
            ..PoolSpec::default()
        };
        for (name, section) in self.named(pool.table, "backend") {
            if let Some(backend) = self.backend(section) {
                spec.backend.insert(name, backend);
            }
        }
        spec
    }

    fn health(&mut self, health: Section<'_>) -> HealthSpec {
        const KEYS: [&str; 10] = [
            "kind",
            "interval",
            "timeout",
            "rise",
            "fall",
            "path",
            "send",
            "expect",
            "panic",
            "slow-start",
        ];
        const KINDS: [HealthKind; 4] =
            [HealthKind::Tcp, HealthKind::Http, HealthKind::SendExpect, HealthKind::None];
        self.no_others(health.table, &KEYS);
        let default = HealthSpec::default();
        let kinds = KINDS.map(|kind| (kind_word(kind), kind));
        HealthSpec {
            kind: self.word(health, "kind", "a kind of check", &kinds).unwrap_or_default(),
            interval: self.span(health, "interval", default.interval),
            timeout: self.span(health, "timeout", default.timeout),
            rise: self.take(health, "rise", COUNT_HINT).unwrap_or(default.rise),
            fall: self.take(health, "fall", COUNT_HINT).unwrap_or(default.fall),
            path: self.take(health, "path", "a text, like \"/health\""),
            send: self.take(health, "send", "a text in quotes, like \"PING\\\\r\\\\n\""),
            expect: self.take(health, "expect", "a text in quotes, like \"200\" or \"+PONG\""),
            panic: self.take(health, "panic", PANIC_HINT).unwrap_or(default.panic),
            slow_start: self.span(health, "slow-start", default.slow_start),
        }
    }

    fn timeout(&mut self, timeout: Section<'_>) -> TimeoutSpec {
        self.no_others(timeout.table, &["connect", "idle", "half-close", "stalled"]);
        let default = TimeoutSpec::default();
        TimeoutSpec {
            connect: self.span(timeout, "connect", default.connect),
            idle: self.span(timeout, "idle", default.idle),
            half_close: self.span(timeout, "half-close", default.half_close),
            stalled: self.take(timeout, "stalled", SPAN_HINT),
        }
    }

    /// The table `keepalive` of a listener or a pool.
    pub(super) fn keepalive(&mut self, of: Section<'_>) -> KeepaliveSpec {
        let default = KeepaliveSpec::default();
        let Some(keepalive) = self.section(of.table, "keepalive") else { return default };
        self.no_others(keepalive.table, &["idle", "interval", "count"]);
        KeepaliveSpec {
            idle: self.span(keepalive, "idle", default.idle),
            interval: self.span(keepalive, "interval", default.interval),
            count: self.take(keepalive, "count", "a number from 1 to 127").unwrap_or(default.count),
        }
    }

    fn retry(&mut self, retry: Section<'_>) -> RetrySpec {
        self.no_others(retry.table, &["attempts", "within"]);
        let default = RetrySpec::default();
        let attempts = self.take(retry, "attempts", "a small number, 0 for none");
        RetrySpec {
            attempts: attempts.unwrap_or(default.attempts),
            within: self.span(retry, "within", default.within),
        }
    }

    fn backend(&mut self, backend: Section<'_>) -> Option<BackendSpec> {
        self.no_others(backend.table, &["address", "weight", "state"]);
        let address = self
            .need(backend, "address", "address = \"10.0.0.11:443\"")
            .and_then(|value| self.value(value, ADDRESS_HINT));
        let weight = self.take(backend, "weight", "a number from 0 to 256");
        let state = self.admin(backend);
        Some(BackendSpec { address: address?, weight: weight.unwrap_or(1), state })
    }

    fn span(&mut self, section: Section<'_>, key: &str, default: Span) -> Span {
        self.take(section, key, SPAN_HINT).unwrap_or(default)
    }
}

const SPAN_HINT: &str = "a duration in quotes, like \"500ms\" or \"2s\"";

const PANIC_HINT: &str = "a share in quotes, \"0%\" (never) to \"100%\"";

const COUNT_HINT: &str = "a number from 1 to 100";
