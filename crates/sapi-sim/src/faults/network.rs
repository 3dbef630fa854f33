//! Owns the faults of everything before and below the WebSocket (B19, B27): their names and words,
//! not the listener that carries them out.

use super::{
    Takes::{Nothing, Number, Text},
    family,
};

family! {
    MAINTENANCE_502 = "B19" "maintenance-502-html" Nothing, "upgrades: 502 with an HTML page";
    MAINTENANCE_503 = "B19" "maintenance-503-html" Nothing, "upgrades: 503 with an HTML page";
    MAINTENANCE_504 = "B19" "maintenance-504-html" Nothing, "upgrades: 504 with an HTML page";
    UPGRADE_200 = "B19" "upgrade-200-html" Nothing, "upgrades: 200 with an HTML page";
    REDIRECT = "B19" "redirect" Text("ORIGIN"), "upgrades: 302 to this origin";
    UPGRADE_RESET = "B19" "upgrade-reset" Nothing, "upgrades: a TCP reset instead of an answer";
    UPGRADE_HANGS = "B19" "upgrade-hangs" Nothing, "upgrades: never answered";
    TLS_RESET = "B19" "tls-reset" Nothing, "with TLS: a TCP reset instead of a server hello";
    IDLE_DROP = "B27" "idle-drop" Number(60), "an intermediary forgets a connection that was idle for so many seconds: what is written then goes nowhere, and the connection drops";
}
