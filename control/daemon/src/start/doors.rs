//! The doors of weir: the control socket and the admin address, bound at a start or taken over.

use std::net::SocketAddr;
use std::rc::Rc;
use std::sync::Arc;

use weir_control_core::file::Settings;

use super::{PATIENCE, STEPS};
use crate::api::gate::Gate;
use crate::api::http;
use crate::api::roles::Roles;
use crate::api::socket::{Door, SocketFile};
use crate::api::token::TokenFile;
use crate::rt::{self, TcpServer};
use crate::serve::hand_over::{HandoverParts, serve_door};
use crate::serve::{Shared, later, moment, start_wakes};
use crate::upgrade::successor::Inherited;
use crate::watchdog::SupervisedEngine;

/// Tries again for a moment: sockets that io_uring was waiting on outlive a process that was
/// killed, by some 20 ms here. So the one who starts weir again at once finds its addresses free.
async fn patiently<T>(mut attempt: impl FnMut() -> Result<T, String>) -> Result<T, String> {
    let deadline = later(moment(), PATIENCE);
    loop {
        match attempt() {
            Err(_) if rt::now() < deadline => rt::sleep(PATIENCE / STEPS).await,
            result => return result,
        }
    }
}

/// The control socket: bound here, or the one of the process before.
pub(super) async fn door(
    settings: &Settings,
    inherited: &mut Option<Inherited>,
) -> Result<(Door, SocketFile), String> {
    let theirs = inherited.as_mut().and_then(|it| it.control.take());
    match theirs.filter(|(path, _)| *path == settings.control) {
        Some((path, socket)) => Ok(Door::of(socket, &path)),
        None => patiently(|| Door::open(&settings.control)).await,
    }
}

/// The same of the admin address.
pub(super) async fn admin(
    address: SocketAddr,
    inherited: &mut Option<Inherited>,
) -> Result<TcpServer, String> {
    let theirs = inherited.as_mut().and_then(|it| it.admin.take());
    match theirs.filter(|(theirs, _)| *theirs == address) {
        Some((_, socket)) => Ok(TcpServer::of(socket)),
        None => patiently(|| open_admin(address)).await,
    }
}

/// The parts of this process that the next one gets.
pub(super) fn handed_parts(
    engine: &Arc<SupervisedEngine>,
    (settings, hash_seed): (&Settings, (u64, u64)),
    door: &Door,
    admin: Option<&TcpServer>,
) -> Result<HandoverParts, String> {
    let text = |error: std::io::Error| error.to_string();
    let control = (settings.control.clone(), door.socket().map_err(text)?);
    let admin = settings.admin.zip(admin);
    let admin = admin.map(|(address, server)| Ok((address, server.socket()?)));
    let admin = admin.transpose().map_err(text)?;
    Ok(HandoverParts { engine: Arc::clone(engine), control, admin, hash_seed })
}

fn open_admin(address: SocketAddr) -> Result<TcpServer, String> {
    TcpServer::bind(address).map_err(|error| {
        format!(
            "the admin address {address}: {error}\n\
             hint: see who has it: ss -ltnp 'sport = :{}'; or leave [weir] admin out",
            address.port()
        )
    })
}

/// Starts what people and programs talk to, and the checks.
pub(super) fn open_doors(
    shared: &Rc<Shared>,
    (door, roles): (Door, Roles),
    admin: Option<(TcpServer, Vec<String>, TokenFile)>,
) {
    start_wakes(shared);
    let gate = Rc::new(Gate::new(shared.clone(), roles));
    rt::spawn("socket", {
        let (door, gate) = (Rc::new(door), gate.clone());
        serve_door(shared.clone(), move || Rc::clone(&door).serve(gate.clone()))
    });
    if let Some((server, hosts, token)) = admin {
        let server = Rc::new(server);
        let serve =
            move || http::serve(Rc::clone(&server), hosts.clone(), token.clone(), gate.clone());
        rt::spawn("http", serve_door(shared.clone(), serve));
    }
}
