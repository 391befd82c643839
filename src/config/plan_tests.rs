//! From text to plan: what is taken, what is refused, and how it is said.

use proptest::prelude::*;

use super::super::{Raw, SETTINGS, Source};
use super::*;

const MACHINE: Machine = Machine { cores: 4 };

fn wrong(text: &str) -> String {
    Plan::check(&Raw::default().file("t.toml", text), MACHINE).expect_err(text).to_string()
}

#[test]
fn the_defaults_make_a_plan() {
    let plan = Plan::check(&Raw::default(), MACHINE).unwrap();
    assert_eq!((plan.shards, plan.calls_max, plan.receive_buffers), (3, 2500, 32_768));
    assert_eq!(plan.sip_listen.len(), 2);
    assert_eq!(plan.sip_listen[0].external, None);
    assert_eq!(Plan::check(&Raw::default(), Machine { cores: 1 }).unwrap().shards, 1);
}

#[test]
fn the_file_overrides_the_default_and_the_environment_the_file() {
    let raw = Raw::default().file(
        "t.toml",
        "shards = 2\nhorizon_ms = 0x64\n[rtp]\nports = '4000-4099'\n[sip]\nlisten = ['udp:[::1]:0']",
    );
    let raw = raw.environment(
        [("TAPEHEAD_SHARDS", "5"), ("PATH", "x"), ("TAPEHEAD_PIN", "false")]
            .map(|(a, b)| (a.to_owned(), b.to_owned()))
            .into_iter(),
    );
    let plan = Plan::check(&raw, MACHINE).unwrap();
    assert_eq!((plan.shards, plan.horizon.as_millis(), plan.calls_max, plan.pin), (5, 100, 25, false));
    assert_eq!(raw.value("shards").1, Source::Variable("TAPEHEAD_SHARDS".to_owned()));
    assert_eq!(raw.value("rtp.ports").1, Source::File("t.toml".to_owned(), 4));
}

#[test]
fn shards_get_disjoint_slices_that_start_even() {
    let raw = Raw::default().with("shards", "3").with("rtp.ports", "4000-4019");
    let plan = Plan::check(&raw, MACHINE).unwrap();
    assert_eq!([0, 1, 2].map(|n| plan.shard_ports(n)), [(4000, 4005), (4006, 4011), (4012, 4017)]);
    assert_eq!(plan.shard_calls_max(), 2);
}

#[test]
fn each_listener_is_known_by_its_own_external_address_or_by_that_of_its_family() {
    let raw = Raw::default().with("sip.external_address", "203.0.113.9").with(
        "sip.listen",
        "udp:0.0.0.0:5060, tcp:0.0.0.0:5060;external=203.0.113.5:15060, tcp:[::]:5060, udp:[::]:5060;external=2001:db8::1",
    );
    let plan = Plan::check(&raw, MACHINE).unwrap();
    let told: Vec<_> = plan.sip_listen.iter().map(|l| l.external.map(|e| e.to_string())).collect();
    let told: Vec<_> = told.iter().map(Option::as_deref).collect();
    assert_eq!(told, [Some("203.0.113.9"), Some("203.0.113.5:15060"), None, Some("[2001:db8::1]")]);
}

#[test]
fn an_unknown_key_is_named_with_its_place_and_the_nearest_known_one() {
    assert_eq!(
        wrong("\n[rtp]\nport = '1-2'"),
        "t.toml:3: rtp.port is not a setting; did you mean rtp.ports?"
    );
    assert!(wrong("[nonsense]\nx = 1").starts_with("t.toml:1: nonsense is not a setting"));
    let raw = Raw::default().environment([("TAPEHEAD_SHARD".to_owned(), "1".to_owned())].into_iter());
    let text = Plan::check(&raw, MACHINE).unwrap_err().to_string();
    assert_eq!(
        text,
        "environment variable TAPEHEAD_SHARD: TAPEHEAD_SHARD is not a variable of Tapehead; did you mean TAPEHEAD_SHARDS?"
    );
}

#[test]
fn what_is_impossible_is_named() {
    for (text, say) in [
        ("shards = 'two'", "t.toml:1: shards takes an integer, not string"),
        ("= 1", "t.toml:1: not TOML"),
        ("horizon_ms = 501", "horizon_ms must be between 0 and 500"),
        ("receive = 'xdp'", "receive must be one of \"auto\", \"sockets\", \"steered\", \"packet\""),
        ("ring = 'uring'", "ring must be one of \"auto\", \"io_uring\", \"poll\""),
        ("[rtp]\nports = '10001-19999'", "rtp.ports must start with an even port"),
        ("[rtp]\nports = '10000-19998'", "rtp.ports must end with an odd port"),
        ("[rtp]\nports = '10000'", "rtp.ports must be a range"),
        (
            "shards = 8\n[rtp]\nports = '4000-4005'",
            "rtp.ports 4000-4005 has 3 port pairs, too few for 8 shards",
        ),
        ("calls_max = 9000", "calls_max is 9000, but rtp.ports 10000-19999 has only 5000"),
        ("[rtp]\nreceive_buffers = 1000", "rtp.receive_buffers must be a power of two"),
        ("[sip]\nlisten = []", "sip.listen is empty"),
        ("[sip]\nlisten = ['ws:1.2.3.4:5061']", "sip.listen takes \"udp:ADDRESS:PORT\""),
        ("[sip]\nlisten = ['tls:1.2.3.4:5061']", "tls.key is empty, but sip.listen has a tls: listener"),
        (
            "[sip]\nlisten = ['tls:1.2.3.4:5061']\n[tls]\nclient_certificates = 'optional'",
            "tls.client_ca is empty, but tls.client_certificates asks for certificates",
        ),
        ("[tls]\nclient_certificates = 'some'", "tls.client_certificates must be one of"),
        (
            "[sip]\nlisten = ['udp:0.0.0.0:10002']",
            "sip.listen takes UDP port 10002, which is inside rtp.ports",
        ),
        ("[sip]\nlisten = ['udp:1.1.1.1:1', 'udp:1.1.1.1:1']", "twice"),
        ("[sip]\nlisten = ['udp:1.2.3.4:5060;external=nat']", "with \";external=ADDRESS\" if need be"),
        ("[sip]\nlisten = ['udp:1.1.1.1:1', 'udp:1.1.1.1:1;external=2.2.2.2']", "twice"),
        ("[nat]\nstun_server = 'stun.example.com'", "nat.stun_server must be \"HOST:PORT\""),
        ("[nat]\nstun_seconds = 0", "nat.stun_seconds must be between 1 and"),
        ("[sip]\nexternal_address = '0.0.0.0'", "sip.external_address must be an IP address"),
        ("[keys]\nmaster_file = './recordings/key'", "keys.master_file lies inside recordings.dir"),
        ("[log]\nlevel = 'loud'", "log.level must be one of"),
        ("[sip]\nallow = ['10.0.0.1/8']", "sip.allow takes addresses and networks"),
        ("[peers.a]", "peers.a.networks is empty"),
        (
            "[peers.a]\nnetwork = ['10.0.0.0/8']",
            "t.toml:2: peers.a.network is not a setting; did you mean peers.a.networks?",
        ),
        ("[peers.\"a b\"]\nany_call = true", "the name of a peer is made of"),
        ("[peers]\nany_call = true", "peers.any_call is not a setting"),
        (
            "[peers.a]\nnetworks = ['10.0.0.0/8']\ncodecs = ['G729']",
            "peers.a.codecs takes PCMU, PCMA, not \"G729\"",
        ),
        ("[peers.a]\nnetworks = ['10.0.0.0/8']\ndigest_user = 'a'", "peers.a.digest_secret_file is empty"),
        (
            "[peers.a]\nnetworks = ['10.0.0.0/8']\n[peers.b]\nnetworks = ['10.0.0.0/8']",
            "peers.b.networks names 10.0.0.0/8, which is peers.a's",
        ),
        (
            "[peers.a]\nnetworks = ['10.0.0.0/8']\nrate_per_second = -1",
            "peers.a.rate_per_second must be between",
        ),
    ] {
        let said = wrong(text);
        assert!(said.contains(say), "{text}: {said}");
    }
}

#[test]
fn all_that_is_wrong_is_said_at_once() {
    assert_eq!(wrong("horizon_ms = 900\nring = 'x'\nwhat = 1").lines().count(), 3);
}

#[test]
fn what_is_printed_reads_back_as_the_same_plan_and_names_everything() {
    let raw = Raw::default()
        .with("rtp.ports", "4000-4999")
        .with("recordings.dir", "/a \"b\"\\c")
        .with("sip.listen", "udp:127.0.0.1:0")
        .with("peers.sbc-1.networks", "10.0.0.0/8, 192.0.2.1");
    let printed = raw.to_toml();
    assert!(SETTINGS.iter().all(|s| printed.contains(&s.variable())));
    let again = Raw::default().file("printed", &printed);
    assert_eq!(Plan::check(&again, MACHINE).unwrap(), Plan::check(&raw, MACHINE).unwrap());
}

#[test]
fn peers_come_from_the_file_and_the_environment() {
    let file = "[peers.sbc-1]\nnetworks = ['10.0.0.0/8', '2001:db8::/32']\ncodecs = ['pcma']\nreinvite = true\ndigest_user = 'u'";
    let variables = [
        ("TAPEHEAD_PEERS_SBC_1_DIGEST_SECRET_FILE", "/run/secrets/sbc"),
        ("TAPEHEAD_PEERS_OTHER_ONE_NETWORKS", "192.0.2.1"),
        ("TAPEHEAD_PEERS_OTHER_ONE_CALLS_MAX", "5"),
    ];
    let raw = Raw::default()
        .file("t.toml", file)
        .environment(variables.map(|(a, b)| (a.to_owned(), b.to_owned())).into_iter());
    let plan = Plan::check(&raw, MACHINE).unwrap();
    let [other, sbc] = &plan.peers[..] else { panic!("two peers") };
    assert_eq!((other.name.as_str(), other.calls_max, other.networks.len()), ("other_one", Some(5), 1));
    assert_eq!((sbc.name.as_str(), sbc.networks.len(), sbc.reinvite), ("sbc-1", 2, true));
    assert_eq!(sbc.codecs, [crate::media::Payload::Pcma]);
    assert_eq!(sbc.digest.as_ref().unwrap().secret_file, std::path::Path::new("/run/secrets/sbc"));
    let wrong =
        Raw::default().environment([("TAPEHEAD_PEERS_A_NETWORK".to_owned(), "x".to_owned())].into_iter());
    assert!(Plan::check(&wrong, MACHINE).is_err());
}

#[test]
fn without_peers_the_printed_configuration_explains_them() {
    let printed = Raw::default().to_toml();
    for setting in super::super::PEER_SETTINGS {
        assert!(printed.contains(&format!("#{} = ", setting.key)), "{}", setting.key);
    }
}

proptest! {
    #[test]
    fn any_text_gives_a_plan_or_problems(text in "([a-z_.]{1,12} ?= ?([0-9]{1,20}|'[ -&(-~]{0,12}'|\\[\\]|true)\n|\\[[a-z]{1,5}\\]\n|[ -~]){0,12}") {
        let _ = Plan::check(&Raw::default().file("t", &text), MACHINE);
    }

    #[test]
    fn any_value_gives_a_plan_or_problems(which in 0..SETTINGS.len(), text in "[ -~]{0,20}|[0-9]{1,20}|[0-9]{1,5}-[0-9]{1,5}") {
        let _ = Plan::check(&Raw::default().with(SETTINGS[which].key, &text), MACHINE);
    }
}
