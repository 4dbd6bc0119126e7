//! Answers whose settings stand among their own keys in JSON. A frame has no keys: there they are
//! one field like the others.

use serde::{Serialize, Serializer};

use super::{
    BackendRow, DiscoveryRow, GroupRow, ListenerRow, ListenerState, PoolDetail, UnboundRow,
};
use crate::settings::ShownSettings;

impl Serialize for ListenerRow {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        #[derive(Serialize)]
        struct FlatListener<'a> {
            name: &'a str,
            bind: &'a [String],
            pool: &'a str,
            state: ListenerState,
            sessions: u64,
            sessions_total: u64,
            unbound: &'a [UnboundRow],
            #[serde(flatten)]
            settings: &'a ShownSettings,
        }
        let ListenerRow { name, bind, pool, state, unbound, settings, .. } = self;
        let (state, sessions, sessions_total) = (*state, self.sessions, self.sessions_total);
        if !serializer.is_human_readable() {
            let row = (name, bind, pool, state, sessions, sessions_total, unbound, settings);
            return row.serialize(serializer);
        }
        FlatListener { name, bind, pool, state, sessions, sessions_total, unbound, settings }
            .serialize(serializer)
    }
}

impl Serialize for PoolDetail {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        #[derive(Serialize)]
        struct FlatPool<'a> {
            name: &'a str,
            #[serde(flatten)]
            settings: &'a ShownSettings,
            panic: bool,
            groups: &'a [GroupRow],
            detection_s: Option<f64>,
            discovery: &'a Option<DiscoveryRow>,
            backends: &'a [BackendRow],
        }
        let PoolDetail { name, settings, panic, groups, detection_s, discovery, backends } = self;
        if !serializer.is_human_readable() {
            let row = (name, settings, panic, groups, detection_s, discovery, backends);
            return row.serialize(serializer);
        }
        let (panic, detection_s) = (*panic, *detection_s);
        FlatPool { name, settings, panic, groups, detection_s, discovery, backends }
            .serialize(serializer)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::frame::{HEADER, decode, encode};
    use crate::settings::{LISTENER, POOL};
    use crate::spec::{ListenerSpec, PoolSpec};

    fn pool(settings: ShownSettings) -> PoolDetail {
        let (groups, backends) = (Vec::new(), Vec::new());
        let (name, detection_s) = ("web".to_owned(), Some(6.5));
        PoolDetail { name, settings, panic: true, groups, detection_s, discovery: None, backends }
    }

    #[test]
    fn an_answer_with_settings_crosses_a_socket() {
        let pool = pool(ShownSettings::of(POOL, &PoolSpec::default()));
        assert_eq!(decode(&encode(&pool).unwrap()[HEADER..]), Ok(pool));
        let spec = ListenerSpec::new("web".parse().unwrap(), Vec::new());
        let listener = ListenerRow {
            name: "web".to_owned(),
            bind: vec!["[::]:80".to_owned()],
            pool: "web".to_owned(),
            state: ListenerState::Open,
            sessions: 1,
            sessions_total: 2,
            unbound: vec![UnboundRow {
                address: "[::]:80".to_owned(),
                why: "address in use".to_owned(),
                since_s: 1.5,
            }],
            settings: ShownSettings::of(LISTENER, &spec),
        };
        assert_eq!(decode(&encode(&listener).unwrap()[HEADER..]), Ok(listener));
    }

    #[test]
    fn settings_stand_among_the_keys_in_json() {
        let mut settings = ShownSettings::default();
        settings.put("timeout.idle_s", crate::settings::ShownValue::Seconds(2.0));
        let json = serde_json::to_string(&pool(settings)).unwrap();
        let wanted = r#"{"name":"web","timeout":{"idle_s":2.0},"panic":true,"groups":[],"#;
        assert_eq!(json, [wanted, r#""detection_s":6.5,"discovery":null,"backends":[]}"#].concat());
    }
}
