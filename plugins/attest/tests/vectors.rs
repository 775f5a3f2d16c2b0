//! Real evidence, from the folder that `POSTERN_VECTORS` names; where there is none, these
//! tests say so and show nothing. What it must show is in that folder's README.

#![expect(
    clippy::disallowed_methods,
    clippy::disallowed_types,
    reason = "real vectors are files outside of the project"
)]

use std::io::Read;
use std::path::PathBuf;

use base64::Engine;
use base64::prelude::{BASE64_STANDARD as B64, BASE64_URL_SAFE_NO_PAD as URL};
use postern_attest::snp::certificate::Certificate;
use postern_attest::snp::report::Report;
use postern_attest::snp::tcb::Tcb;
use postern_attest::snp::uvm::{self, Endorser};
use postern_attest::snp::vcek::Vcek;
use postern_attest::snp::{Parts, Policy, Product, appraise, pinned};
use postern_attest::{Context, Refusal, maa, note, release_set};
use postern_attester as made;
use postern_core::hex;
use serde_json::Value;

/// 2026-11-26, when the certificates of the vectors are valid.
const NOW: u64 = 1_795_695_000;
const UVM: &str = "did:x509:0:sha256:I__iuL25oXEVFdTP_aBLx_eT1RPHbCQ_ECBQfYZpt9s\
                   ::eku:1.3.6.1.4.1.311.76.59.1.2";

fn folder(name: &str) -> Option<PathBuf> {
    let folder = std::env::var_os("POSTERN_VECTORS").map(PathBuf::from);
    let folder = folder.map(|folder| {
        let inside = folder.join("attestation");
        if inside.is_dir() { inside.join(name) } else { folder.join(name) }
    });
    let found = folder.filter(|folder| folder.is_dir());
    if found.is_none() {
        eprintln!("real vectors are absent (POSTERN_VECTORS): {name} was not checked");
    }
    found
}

fn pem(text: &str) -> Vec<Vec<u8>> {
    let blocks = text.split("-----BEGIN CERTIFICATE-----").skip(1);
    let blocks = blocks.map(|block| block.split("-----END").next().unwrap_or_default());
    blocks.map(|block| B64.decode(block.split_whitespace().collect::<String>()).unwrap()).collect()
}

fn read(folder: &std::path::Path, name: &str) -> Vec<u8> {
    let mut bytes = Vec::new();
    std::fs::File::open(folder.join(name)).unwrap().read_to_end(&mut bytes).unwrap();
    bytes
}

fn text(folder: &std::path::Path, name: &str) -> String {
    String::from_utf8(read(folder, name)).unwrap()
}

/// Bound to the report's own report data, so that everything else is checked.
fn judge(parts: &Parts<'_>, policy: &Policy) -> Result<u64, Refusal> {
    let report = parts.report;
    let host_data: [u8; 32] = report[0xc0..0xe0].try_into().unwrap();
    let runtime_hash: [u8; 32] = report[0x50..0x70].try_into().unwrap();
    let keys = vec![note::Key::parse(&made::release_vkey()).unwrap()];
    let pins = release_set::Pins { origin: made::ORIGIN.into(), keys };
    let set = made::release_set(1, NOW + 3600, &[host_data]);
    let releases = pins.open(set.as_bytes(), 0, NOW, &mut |_| ()).unwrap();
    let context = Context { runtime_hash: &runtime_hash, releases: &releases, now: NOW };
    appraise(parts, policy, &context, &mut |_| ())
}

fn milan(endorsers: Vec<Endorser>, report: &[u8]) -> Policy {
    Policy {
        roots: vec![pinned(Product::Milan).unwrap()],
        chip_ids: vec![report[0x1a0..0x1e0].try_into().unwrap()],
        floors: vec![],
        measurements: if endorsers.is_empty() {
            vec![report[0x90..0xc0].try_into().unwrap()]
        } else {
            vec![]
        },
        endorsers,
    }
}

#[test]
fn a_real_container_groups_report_chain_policy_and_endorsement_hold() {
    let Some(folder) = folder("caci") else { return };
    let report = read(&folder, "snp_report.bin");
    let host: Value =
        serde_json::from_str(&text(&folder, "uvm_host_amd_certificate.json")).unwrap();
    let vcek = pem(host["vcekCert"].as_str().unwrap()).swap_remove(0);
    let ask = pem(host["certificateChain"].as_str().unwrap()).swap_remove(0);
    let cose = read(&folder, "body.uvm_reference_info.bin");
    let endorser = || Endorser::new(UVM, "ContainerPlat-AMD-UVM", 22).unwrap();
    let parts = Parts { report: &report, vcek: &vcek, ask: &ask, uvm: Some(&cose) };
    // The report of this set binds other runtime data than 32 bytes and zeros, or does not.
    let binds = report[0x70..0x90].iter().all(|byte| *byte == 0);
    let expected = if binds { None } else { Some(Refusal::ReportData) };
    assert_eq!(judge(&parts, &milan(vec![endorser()], &report)).err(), expected);
    let parsed = Report::parse(&report).unwrap();
    let policy = B64.decode(text(&folder, "uvm_security_policy.base64").trim()).unwrap();
    assert_eq!(parsed.host_data, made::sha256(&policy));
    assert_eq!(uvm::open(&cose, &[endorser()]), Some(parsed.measurement));
    let tcb = host["tcbm"].as_str().unwrap();
    let mut reported = parsed.reported_tcb;
    reported.reverse();
    assert_eq!(hex::lower(&reported), tcb.to_lowercase());
    // Without a chip list Milan is not even a product; with a later floor it is refused.
    let mut floor = milan(vec![endorser()], &report);
    floor.floors = vec![(Product::Milan, Tcb { snp: 9, ..Tcb::default() })];
    assert_eq!(judge(&parts, &floor), Err(Refusal::TcbFloor));
    assert_eq!(uvm::open(&cose, &[Endorser::new(UVM, "ContainerPlat-AMD-UVM", 23).unwrap()]), None);
}

#[test]
fn a_real_milan_report_and_chain_hold() {
    let Some(folder) = folder("milan") else { return };
    let digits = text(&folder, "report_milan.hex");
    let digits: String = digits.split_whitespace().collect();
    let report = hex::read::<1184>(digits.to_lowercase().as_bytes()).unwrap();
    let vcek = read(&folder, "vcek_milan.der");
    let ask = pem(&text(&folder, "cert_chain_milan")).swap_remove(0);
    let parts = Parts { report: &report, vcek: &vcek, ask: &ask, uvm: None };
    let binds = report[0x70..0x90].iter().all(|byte| *byte == 0);
    let expected = if binds { None } else { Some(Refusal::ReportData) };
    assert_eq!(judge(&parts, &milan(vec![], &report)).err(), expected);
    let certified = Vcek::read(&Certificate::parse(&vcek).unwrap()).unwrap();
    let parsed = Report::parse(&report).unwrap();
    assert!(parsed.signed_by(certified.key()));
    assert!(certified.is_for_chip(&parsed.chip_id));
    assert_eq!(Some(certified.tcb()), Tcb::from_bytes(Product::Milan, &parsed.reported_tcb));
    let turin = Policy { roots: vec![pinned(Product::Turin).unwrap()], ..milan(vec![], &report) };
    assert_eq!(judge(&parts, &turin), Err(Refusal::Chain));
}

#[test]
fn a_real_turin_certificate_has_eight_bytes_of_chip_id_and_fmc() {
    let Some(folder) = folder("turin") else { return };
    let bytes = read(&folder, "vcek_turin.der");
    let certificate = Certificate::parse(&bytes).unwrap();
    let vcek = Vcek::read(&certificate).unwrap();
    assert!(vcek.is_of(Product::Turin) && !vcek.is_of(Product::Genoa));
    let id = certificate.extension(&[0x2b, 6, 1, 4, 1, 0x9c, 0x78, 1, 4]).unwrap();
    assert_eq!(id.len(), 8);
    let mut chip = [0; 64];
    chip[..8].copy_from_slice(id);
    assert!(vcek.is_for_chip(&chip));
    chip[8] = 1;
    assert!(!vcek.is_for_chip(&chip));
    assert!(certificate.extension(&[0x2b, 6, 1, 4, 1, 0x9c, 0x78, 1, 3, 9]).is_some());
    // A report of another product under this certificate: the chain is Turin's.
    let ask = pem(&text(&folder, "cert_chain_turin")).swap_remove(0);
    let report = made::report(b"", Turin::report);
    let parts = Parts { report: &report, vcek: &bytes, ask: &ask, uvm: None };
    let policy = Policy {
        roots: vec![pinned(Product::Turin).unwrap()],
        chip_ids: vec![],
        floors: vec![],
        endorsers: vec![],
        measurements: vec![made::MEASUREMENT],
    };
    assert_eq!(judge(&parts, &policy), Err(Refusal::ReportSignature));
}

use made::Turin;

#[test]
fn a_real_report_of_a_guest_that_can_be_debugged_is_refused_though_it_is_signed() {
    let Some(folder) = folder("milan-debug") else { return };
    let report = read(&folder, "attestation.bin");
    let report = &report[..1184];
    let vcek = read(&folder, "vcek.testcer");
    let ask = pem(&text(&folder, "milan.testcer")).swap_remove(0);
    let parsed = Report::parse(report).unwrap();
    let certified = Vcek::read(&Certificate::parse(&vcek).unwrap()).unwrap();
    assert!(parsed.signed_by(certified.key()));
    let parts = Parts { report, vcek: &vcek, ask: &ask, uvm: None };
    assert_eq!(judge(&parts, &milan(vec![], report)), Err(Refusal::GuestPolicy));
}

#[test]
fn a_real_token_of_a_confidential_vm_verifies_and_is_refused() {
    let Some(folder) = folder("maa") else { return };
    let token = text(&folder, "cvm-token.jwt");
    let token = token.trim();
    let issuer = maa::Issuer::new("https://sharedeus2.eus2.attest.azure.net", [(
        "J0pAPdfXXHqWWimgrH853wMIdh5/fLe1z6uSXYPXCa0=",
        "2NBrEQdwXUzVy2p-SZ7sBjxbVd4iTGNEQJu_Ot_C0NCzXIDT6DMEAeVZLSoWWcW6oXQ81h-yQWtw-jFW_SPgG4FGSL1UnVO8Zak80thovQk0dbZDo-9lsoOnOfXfPUL0T9AgHtqJpUr3tCfyRRLdC0MgF1tAyjZbMj8bHe2ZmJ9GLTJT5v9E0i5l3S4WZY52vMzZaVpfxw-0_s5tRzcoPGqIrMOnX_7kv5j7sisqZKNq6fP-4MHvLb_tXyHCkW6FzX8mUlwyRNzBP3R4xaXBvykzJMaAiCW_Yr_TxycdnmwsTR7he1Q78q12KnYqLvUVjg_v39_RWGSbFnaP1YX5Hw",
    )].into_iter());
    let policy = maa::Policy {
        issuers: vec![issuer.unwrap()],
        policy_hashes: vec![],
        max_age: maa::MAX_AGE,
        floors: vec![],
        three_claims: false,
    };
    // Just issued: the signature holds, and it is still of another kind of machine.
    let issued = 1_765_826_648;
    let judge = |token: &str, now| {
        let keys = vec![note::Key::parse(&made::release_vkey()).unwrap()];
        let pins = release_set::Pins { origin: made::ORIGIN.into(), keys };
        let set = made::release_set(1, now + 3600, &[made::HOST_DATA]);
        let releases = pins.open(set.as_bytes(), 0, now, &mut |_| ()).unwrap();
        let context = Context { runtime_hash: &[0; 32], releases: &releases, now };
        let mut passed = Vec::new();
        let judged = maa::appraise(token.as_bytes(), &policy, &context, &mut |it| passed.push(it));
        (judged, passed)
    };
    let (judged, passed) = judge(token, issued + 60);
    assert_eq!(judged, Err(Refusal::Claim("x-ms-attestation-type")));
    assert!(passed.contains(&"token: RS256 signature"), "{passed:?}");
    assert_eq!(judge(token, NOW).0, Err(Refusal::TokenTime));
    // One changed character of the payload.
    let (head, rest) = token.split_once('.').unwrap();
    let (payload, signature) = rest.split_once('.').unwrap();
    let claims = String::from_utf8(URL.decode(payload).unwrap()).unwrap();
    let claims = URL.encode(claims.replacen("azurevm", "sevsnpv", 1));
    let bent = format!("{head}.{claims}.{signature}");
    let refused = Err(Refusal::Token(postern_jose::Refusal::Signature));
    assert_eq!(judge(&bent, issued + 60).0, refused);
}
