//! Who has access now: keys by age and last use, roles, identities, revocations.

use std::collections::BTreeMap;

use postern_core::time::UnixMillis;
use serde_json::{Value, json};

const DAY: u64 = 24 * 3600 * 1000;
/// From this age on a key is worth a look, and from this long without use.
const OLD_DAYS: u64 = 90;
/// Roles that can change what others may do.
const PRIVILEGED: [&str; 2] = ["ADMIN", "PLATFORM"];
/// Upper bounds of the groups by age, in days.
const AGES: [(u64, &str); 5] = [
    (30, "under 30 days"),
    (90, "30 to 89 days"),
    (180, "90 to 179 days"),
    (365, "180 to 364 days"),
    (u64::MAX, "a year and more"),
];

/// The review of these lists at `now`.
pub(super) fn of(lists: &Value, now: UnixMillis) -> Value {
    let keys: Vec<Value> = items(lists, "keys").iter().map(|it| key(it, now)).collect();
    let active: Vec<&Value> = keys.iter().filter(|key| key["state"] == "active").collect();
    let mut roles: BTreeMap<&str, usize> = BTreeMap::new();
    for role in active.iter().flat_map(|key| texts(&key["roles"])) {
        *roles.entry(role).or_default() += 1;
    }
    let group = |days: &dyn Fn(&Value) -> Option<u64>| {
        let mut counts = AGES.map(|(_, name)| json!({"name": name, "count": 0}));
        let mut never = 0;
        for key in &active {
            match days(key) {
                None => never += 1,
                Some(days) => {
                    let at = AGES.iter().position(|(below, _)| days < *below).unwrap_or(4);
                    counts[at]["count"] = (counts[at]["count"].as_u64().unwrap_or(0) + 1).into();
                }
            }
        }
        (counts.to_vec(), never)
    };
    let (by_age, _) = group(&|key| key["age_days"].as_u64());
    let (mut by_use, never) = group(&|key| key["idle_days"].as_u64());
    by_use.push(json!({"name": "never used", "count": never}));
    let flagged = active.iter().filter(|key| !texts(&key["look_at"]).is_empty()).count();
    json!({
        "active_keys": active.len(),
        "flagged_keys": flagged,
        "by_age": by_age,
        "by_last_use": by_use,
        "roles": roles.iter().map(|(role, keys)| json!({"role": role, "keys": keys})).collect::<Vec<_>>(),
        "keys": keys,
        "identities": lists["identities"],
        "revocations": lists["revocations"],
        "credentials": lists["credentials"],
        "users": lists["users"],
    })
}

fn key(listed: &Value, now: UnixMillis) -> Value {
    let days = |name: &str| {
        let at = listed.get(name).and_then(Value::as_u64);
        at.map(|at| now.0.saturating_sub(at) / DAY)
    };
    // A grant's members may stand in the key itself.
    let grant = listed.get("grant").unwrap_or(listed);
    let (age, idle) = (days("created"), days("last_used"));
    let roles = texts(&grant["roles"]);
    let checks = [
        (age.is_some_and(|days| days >= OLD_DAYS), "older than 90 days"),
        (idle.is_some_and(|days| days >= OLD_DAYS), "not used for 90 days"),
        (idle.is_none() && age.is_some_and(|days| days >= 30), "never used"),
        (grant["not_after"].is_null(), "does not end"),
        (roles.iter().any(|role| PRIVILEGED.contains(role)), "privileged role"),
    ];
    let look_at: Vec<&str> = checks.iter().filter(|(is, _)| *is).map(|(_, what)| *what).collect();
    json!({
        "id": listed["id"], "state": listed["state"], "user": grant["user"],
        "organisation": grant["organisation"], "agent": grant["agent"], "roles": roles,
        "scopes": grant["scopes"], "trust": grant["trust"], "platform": grant["platform"],
        "not_after": grant["not_after"], "created": listed["created"],
        "last_used": listed["last_used"], "age_days": age, "idle_days": idle, "look_at": look_at,
    })
}

fn items<'a>(lists: &'a Value, name: &str) -> &'a [Value] {
    lists.get(name).and_then(Value::as_array).map_or(&[], Vec::as_slice)
}

fn texts(list: &Value) -> Vec<&str> {
    list.as_array().into_iter().flatten().filter_map(Value::as_str).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_are_grouped_by_age_and_last_use_and_what_is_odd_is_said() {
        let at = |days: u64| (1000 - days) * DAY;
        let key = |id: &str, created: u64, used: Option<u64>, roles: &[&str], end: Option<u64>| {
            json!({
                "id": id, "state": "active", "created": at(created),
                "last_used": used.map(at), "user": "ada", "agent": "bot", "roles": roles,
                "scopes": [], "not_after": end,
            })
        };
        let lists = json!({"keys": [
            key("new", 2, Some(0), &["AGENT"], Some(at(0))),
            key("old", 400, Some(100), &["PLATFORM"], None),
            key("idle", 40, None, &[], Some(at(0))),
        ]});
        let review = of(&lists, UnixMillis(1000 * DAY));
        let look_at = |at: usize| texts(&review["keys"][at]["look_at"]).join(", ");
        assert_eq!(look_at(0), "");
        let all = "older than 90 days, not used for 90 days, does not end, privileged role";
        assert_eq!(look_at(1), all);
        assert_eq!(look_at(2), "never used");
        let counts = |name: &str| -> Vec<u64> {
            let groups = review[name].as_array().unwrap();
            groups.iter().map(|group| group["count"].as_u64().unwrap()).collect()
        };
        assert_eq!(counts("by_age"), [1, 1, 0, 0, 1]);
        assert_eq!(counts("by_last_use"), [1, 0, 1, 0, 0, 1]);
        assert_eq!((&review["active_keys"], &review["flagged_keys"]), (&json!(3), &json!(2)));
    }
}
