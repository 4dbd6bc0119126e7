//! The table `control-roles` of `[weir]`.

use toml::de::DeValue;

use super::{Reader, Section};
use crate::file::grant::{Grant, Role, WHO_HINT, Who};

impl Reader {
    /// `control-roles = { admin = ["user:alice"], operator = […], viewer = […] }`
    pub(super) fn control_roles(&mut self, roles: Section<'_>) -> Vec<Grant> {
        self.no_others(roles.table, &Role::ALL.map(Role::word));
        let mut grants = Vec::new();
        for role in Role::ALL {
            let Some(value) = roles.table.get(role.word()) else { continue };
            let DeValue::Array(items) = value.get_ref() else {
                self.add(value.span(), format!("{} must be a list", role.word()), WHO_HINT);
                continue;
            };
            for item in items {
                let text = item.get_ref().as_str();
                match text.unwrap_or_default().parse::<Who>() {
                    Ok(who) => grants.push((role, who)),
                    Err(_) if text.is_none() => {
                        self.add(item.span(), "this is not a text", WHO_HINT);
                    }
                    Err(why) => self.add(item.span(), why, WHO_HINT),
                }
            }
        }
        grants
    }
}
