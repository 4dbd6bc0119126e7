//! PUT: an object is made, or has these settings and no others.

use super::*;
use weir_proto::request::Pairs;

fn pairs(pairs: &[(&str, &str)]) -> Pairs {
    pairs.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect()
}

#[test]
fn what_is_not_named_is_at_its_default_again() {
    let put = |name: &str, set: &[(&str, &str)]| ChangeRequest::BackendPut {
        name: name.into(),
        pairs: pairs(set),
    };
    let before = start(&mut IdSource::default());
    let old = before.pool("web").unwrap().backend("b1").unwrap().clone();
    let address = old.address.to_string();
    let plan = done(put("web/b1", &[("address", &address), ("weight", "7")]));
    let next = plan.snapshot.unwrap();
    let new = next.pool("web").unwrap().backend("b1").unwrap();
    assert_eq!((new.weight, new.admin, new.id), (7, Admin::Ready, old.id), "it is the same one");
    assert!(plan.undo.starts_with("weirctl backend set web/b1 "), "{}", plan.undo);
    let plan = done(put("web/new", &[("address", "192.0.2.9:9")]));
    assert_eq!(plan.before, None);
    assert!(plan.undo.starts_with("weirctl backend remove web/new"), "{}", plan.undo);
    let pool =
        |set: &[(&str, &str)]| ChangeRequest::PoolPut { name: "web".into(), pairs: pairs(set) };
    let next = done(pool(&[("timeout.idle", "7s")])).snapshot.unwrap();
    let web = next.pool("web").unwrap();
    let wanted = PoolSpec::default();
    assert_eq!((web.strategy, web.health.kind), (wanted.strategy, wanted.health.kind));
    let kept = before.pool("web").unwrap();
    assert_eq!(web.backends, kept.backends, "backends are objects of their own");
}

#[test]
fn what_has_no_default_must_be_said() {
    let listener = |name: &str, set: &[(&str, &str)]| ChangeRequest::ListenerPut {
        name: name.into(),
        pairs: pairs(set),
    };
    let refusal = refused(listener("new", &[("pool", "web")]));
    assert_eq!(refusal.message, "bind of listener new is not said");
    assert!(refusal.hint.contains("an IP address with a port"), "{}", refusal.hint);
    let whole = [("bind", "127.0.0.1:7007"), ("pool", "web")];
    let refusal = refused(listener("new", &whole[..1]));
    assert_eq!(refusal.message, "pool of listener new is not said");
    let refusal = refused(listener("new", &[whole[0], ("pool", "nopool")]));
    assert_eq!(refusal.code, Code::NotFound);
    assert_eq!(refused(listener("-x", &whole)).code, Code::Invalid);
    let plan = done(listener("new", &whole));
    assert!(plan.undo.starts_with("weirctl listener remove new"), "{}", plan.undo);
    let empty = ChangeRequest::BackendPut { name: "web/x".into(), pairs: Pairs::new() };
    assert_eq!(refused(empty).message, "address of backend web/x is not said");
    let nowhere = ChangeRequest::BackendPut { name: "nopool/x".into(), pairs: Pairs::new() };
    assert_eq!(refused(nowhere).code, Code::NotFound);
}
