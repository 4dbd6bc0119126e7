//! Who has which role, and what each request needs.

use super::*;
use weir_proto::answer::events::EventFilter;
use weir_proto::request::{BackendAct, ChangeOptions, Query};
use weir_proto::spec::Admin;

fn peer(uid: u32, gid: u32, groups: &[u32]) -> PeerCred {
    PeerCred { uid, gid, groups: groups.to_vec(), pid: 1, login: None }
}

#[test]
fn an_entry_says_what_it_is() {
    for text in ["anyone", "uid:0", "user:alice", "gid:4294967295", "group:weir-admin"] {
        assert_eq!(text.parse::<Who>().unwrap().to_string(), text);
    }
    let bad = ["", "root", "uid:", "uid:-1", "uid:4294967296", "gid:x", "group:", "role:admin"];
    for text in bad {
        assert!(text.parse::<Who>().is_err(), "{text:?}");
    }
}

#[test]
fn without_a_setting_root_and_weir_are_admins_and_the_others_operators() {
    let roles = Roles::new(None, 77).unwrap();
    assert_eq!(roles.of(&peer(0, 0, &[])), Some(Role::Admin));
    assert_eq!(roles.of(&peer(77, 5, &[])), Some(Role::Admin));
    assert_eq!(roles.of(&peer(1000, 0, &[0])), Some(Role::Operator));
}

#[test]
fn a_setting_counts_alone_and_the_highest_role_wins() {
    let setting = [
        (Role::Admin, Who::Gid(10)),
        (Role::Operator, Who::Uid(1000)),
        (Role::Viewer, Who::Gid(20)),
    ];
    let roles = Roles::new(Some(&setting), 77).unwrap();
    assert_eq!(roles.of(&peer(1000, 1, &[])), Some(Role::Operator));
    assert_eq!(roles.of(&peer(1000, 10, &[20])), Some(Role::Admin), "by its primary group");
    assert_eq!(roles.of(&peer(1000, 1, &[3, 10])), Some(Role::Admin), "by a supplementary one");
    assert_eq!(roles.of(&peer(1001, 20, &[])), Some(Role::Viewer));
    assert_eq!(roles.of(&peer(1001, 1, &[1])), None);
    // A uid is no gid.
    assert_eq!(roles.of(&peer(10, 1, &[])), None);
    assert_eq!(roles.of(&peer(0, 1, &[])), Some(Role::Admin), "root is never shut out");
    assert_eq!(roles.of(&peer(77, 1, &[])), Some(Role::Admin), "nor is weir's own user");
    assert_eq!(Roles::new(Some(&[]), 77).unwrap().of(&peer(1000, 0, &[])), None);
}

#[test]
fn names_are_looked_up_and_unknown_ones_are_all_told() {
    let root =
        [(Role::Viewer, Who::User("root".into())), (Role::Viewer, Who::Group("root".into()))];
    let roles = Roles::new(Some(&root), 77).unwrap();
    assert_eq!(roles.rules[2..], [(Role::Viewer, Match::Uid(0)), (Role::Viewer, Match::Gid(0))]);
    let unknown = [
        (Role::Admin, Who::Group("no-such-group-here".into())),
        (Role::Admin, Who::User("no-such-user-here".into())),
    ];
    let told = Roles::new(Some(&unknown), 77).unwrap_err();
    assert_eq!(told.len(), 2);
    assert!(told[0].starts_with("group:no-such-group-here in [weir] control-roles: "), "{told:?}");
}

#[test]
fn each_request_needs_its_role() {
    let change = |change| Command::Change { change, options: ChangeOptions::default() }.into();
    let name = || "web".to_owned();
    let table = [
        (Query::Status.into(), Role::Viewer),
        (Query::Events { after: 0, filter: EventFilter::default() }.into(), Role::Viewer),
        (Query::ConfigExport { version: None }.into(), Role::Viewer),
        (change(ChangeRequest::BackendRemove { name: name(), force: true }), Role::Operator),
        (change(ChangeRequest::BackendWeight { name: name(), weight: 1 }), Role::Operator),
        (
            change(ChangeRequest::ListenerState { name: name(), state: Admin::Drain }),
            Role::Operator,
        ),
        (
            change(ChangeRequest::Backends {
                names: vec![name()],
                act: BackendAct::Remove { force: false },
            }),
            Role::Operator,
        ),
        (change(ChangeRequest::ListenerRemove { name: name() }), Role::Admin),
        (change(ChangeRequest::PoolSet { name: name(), pairs: Vec::new() }), Role::Admin),
        (change(ChangeRequest::apply(name(), name())), Role::Admin),
        (change(ChangeRequest::Rollback { version: 1 }), Role::Admin),
        (Command::Drain.into(), Role::Admin),
        (Command::Ready.into(), Role::Admin),
        (Command::Stop { drain_ms: None }.into(), Role::Admin),
    ];
    for (request, role) in table {
        assert_eq!(needed(&request), role, "{request:?}");
    }
}

#[test]
fn a_refusal_says_what_is_needed_what_is_had_and_how_to_mend_it() {
    let refusal = refusal(Role::Admin, Some(Role::Viewer), 1000);
    assert_eq!(refusal.code, Code::Denied);
    assert_eq!(
        refusal.message,
        "not permitted: this needs the role admin, and uid 1000 has the role viewer"
    );
    assert!(refusal.hint.contains("control-roles = { admin = [\"uid:1000\"] }"), "{refusal:?}");
    assert!(super::refusal(Role::Viewer, None, 5).message.ends_with("uid 5 has no role"));
}
