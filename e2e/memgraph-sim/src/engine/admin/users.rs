//! Users and passwords. Without a licence every user may do everything.

use bolt_server::{Failure, Notification};
use cypher_subset::ast::Auth;

use super::texts;
use crate::{
    durability::state::{self, PasswordHash},
    engine::{Node, session::Answer},
    messages,
};

pub(super) fn fields(auth: &Auth) -> &'static [&'static str] {
    match auth {
        Auth::ShowUsers | Auth::ShowCurrentUser => &["user"],
        _ => &[],
    }
}

/// Users cannot be changed on a replica.
pub(super) fn check(node: &Node, auth: &Auth) -> Result<(), Failure> {
    match auth {
        Auth::ShowUsers => Ok(()),
        Auth::ShowCurrentUser | Auth::ChangePassword { .. } => {
            Err(messages::unsupported("statements about the current user"))
        }
        Auth::CreateUser { .. } | Auth::DropUser { .. } | Auth::SetPassword { .. } => {
            if node.is_main() {
                Ok(())
            } else {
                Err(messages::users_on_replica())
            }
        }
    }
}

impl Node {
    pub(super) async fn change_users(&self, auth: &Auth) -> Result<Answer, Failure> {
        let mut answer = Answer::default();
        let before = self.users.borrow().clone();
        match auth {
            Auth::ShowUsers => {
                answer.rows = self.users.borrow().0.keys().map(|name| texts([name])).collect();
                return Ok(answer);
            }
            Auth::CreateUser {
                name,
                if_not_exists,
                password,
            } => {
                if self.users.borrow().0.contains_key(name) {
                    if !if_not_exists {
                        return Err(messages::user_exists(self.config.version, name));
                    }
                    let title = format!("User '{name}' already exists.");
                    answer
                        .notifications
                        .push(Notification::warning("CreateUser", title));
                    return Ok(answer);
                }
                self.set_password(name, password.as_deref());
                let title = format!("User '{name}' created. All privileges granted.");
                answer.notifications.push(Notification::info("CreateUser", title));
            }
            Auth::DropUser { name } => {
                let known = self.users.borrow_mut().0.remove(name);
                known.ok_or_else(|| messages::no_user_to_drop(name))?;
            }
            Auth::SetPassword { name, password } => {
                if !self.users.borrow().0.contains_key(name) {
                    return Err(messages::unknown_user(name));
                }
                self.set_password(name, password.as_deref());
            }
            Auth::ShowCurrentUser | Auth::ChangePassword { .. } => {
                return Err(messages::unsupported("statements about the current user"));
            }
        }
        let users = self.users.borrow().clone();
        if self.save_state(&state::users_file(), &users).await.is_err() {
            *self.users.borrow_mut() = before;
            return Err(match auth {
                Auth::DropUser { name } => messages::user_not_removed(name),
                Auth::CreateUser { name, .. } | Auth::SetPassword { name, .. } => {
                    messages::user_not_saved(name)
                }
                Auth::ShowUsers | Auth::ShowCurrentUser | Auth::ChangePassword { .. } => {
                    messages::unsupported("saving users for this statement")
                }
            });
        }
        Ok(answer)
    }

    fn set_password(&self, name: &str, password: Option<&str>) {
        // A user without a password is let in with the empty one.
        let hash = PasswordHash::new(password.unwrap_or_default(), self.new_uuid());
        self.users.borrow_mut().0.insert(name.to_owned(), hash);
    }
}
