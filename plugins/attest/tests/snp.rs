//! Reports that these tests make and sign, and every way in which one may be bad.

use postern_attest::snp::certificate::Certificate;
use postern_attest::snp::tcb::Tcb;
use postern_attest::snp::uvm::Endorser;
use postern_attest::snp::{self, Parts, Policy, Product, Root, appraise, pinned};
use postern_attest::{Context, Refusal, note, release_set};
use postern_attester::{self as made, Turin, Uvm, Vcek};

const NOW: u64 = 1_795_329_000;
const RUNTIME: &[u8] = b"{\"crp\":{}}";

struct Shown {
    report: Vec<u8>,
    vcek: Vec<u8>,
    ask: Vec<u8>,
    uvm: Option<Vec<u8>>,
}

impl Default for Shown {
    fn default() -> Self {
        Self {
            report: made::report(RUNTIME, |_| ()),
            vcek: Vcek::default().der(),
            ask: made::ask(),
            uvm: Some(Uvm::default().cose()),
        }
    }
}

fn policy() -> Policy {
    let endorser = Endorser::new(&made::uvm_fingerprint(), "ContainerPlat-AMD-UVM", 100).unwrap();
    Policy {
        roots: vec![Root::new(Product::Genoa, &made::root_modulus()).unwrap()],
        chip_ids: vec![],
        floors: vec![],
        endorsers: vec![endorser],
        measurements: vec![],
    }
}

fn turin() -> Policy {
    let roots = vec![Root::new(Product::Turin, &made::root_modulus()).unwrap()];
    Policy { roots, ..policy() }
}

fn at(now: u64, shown: &Shown, policy: &Policy) -> Result<u64, Refusal> {
    let keys = vec![note::Key::parse(&made::release_vkey()).unwrap()];
    let pins = release_set::Pins { origin: made::ORIGIN.into(), keys };
    let set = made::release_set(1, now + 3600, &[made::HOST_DATA]);
    let releases = pins.open(set.as_bytes(), 0, now, &mut |_| ()).unwrap();
    let runtime_hash = made::sha256(RUNTIME);
    let context = Context { runtime_hash: &runtime_hash, releases: &releases, now };
    let Shown { report, vcek, ask, uvm } = shown;
    let parts = Parts { report, vcek, ask, uvm: uvm.as_deref() };
    appraise(&parts, policy, &context, &mut |_| ())
}

fn judge(shown: &Shown) -> Result<u64, Refusal> {
    at(NOW, shown, &policy())
}

fn refused(shown: Shown) -> Refusal {
    judge(&shown).unwrap_err()
}

fn report(change: impl FnOnce(&mut [u8])) -> Shown {
    Shown { report: made::report(RUNTIME, change), ..Shown::default() }
}

fn shown(vcek: &Vcek) -> Shown {
    Shown { vcek: vcek.der(), ..Shown::default() }
}

#[test]
fn a_good_report_is_accepted_until_its_certificates_end() {
    // 2039-12-31T23:59:59Z.
    assert_eq!(judge(&Shown::default()), Ok(2_208_988_799));
}

#[test]
fn a_measurement_may_be_pinned_instead_of_endorsed() {
    let shown = Shown { uvm: None, ..Shown::default() };
    assert_eq!(at(NOW, &shown, &policy()), Err(Refusal::Measurement));
    let own = Policy { measurements: vec![made::MEASUREMENT], endorsers: vec![], ..policy() };
    assert!(at(NOW, &shown, &own).is_ok());
    let other = Policy { measurements: vec![[9; 48]], endorsers: vec![], ..policy() };
    assert_eq!(at(NOW, &Shown::default(), &other), Err(Refusal::Measurement));
}

#[test]
fn every_field_that_decides_is_checked() {
    type Change = fn(&mut [u8]);
    let rows: [(&str, Change, Refusal); 17] = [
        ("version 1", |r| r[0] = 1, Refusal::ReportVersion),
        ("version 4", |r| r[0] = 4, Refusal::ReportVersion),
        ("version 2^8", |r| r[1] = 1, Refusal::ReportVersion),
        ("algorithm 0", |r| r[0x34] = 0, Refusal::SigningKey),
        ("algorithm 2", |r| r[0x34] = 2, Refusal::SigningKey),
        ("mask_chip_key", |r| r[0x48] = 1 << 1, Refusal::SigningKey),
        ("signed by a VLEK", |r| r[0x48] = 1 << 2, Refusal::SigningKey),
        ("signed by nobody", |r| r[0x48] = 7 << 2, Refusal::SigningKey),
        ("DEBUG", |r| r[0x0a] |= 1 << 3, Refusal::GuestPolicy),
        ("MIGRATE_MA", |r| r[0x0a] |= 1 << 2, Refusal::GuestPolicy),
        ("bit 17 is 0", |r| r[0x0a] &= !(1 << 1), Refusal::GuestPolicy),
        ("vmpl 1", |r| r[0x30] = 1, Refusal::Vmpl),
        ("other host data", |r| r[0xc0] ^= 1, Refusal::HostData),
        ("other measurement", |r| r[0x90] ^= 1, Refusal::Measurement),
        ("other report data", |r| r[0x50] ^= 1, Refusal::ReportData),
        ("a tail of report data", |r| r[0x8f] = 1, Refusal::ReportData),
        ("reserved firmware bytes", |r| r[0x183] = 1, Refusal::Report),
    ];
    for (name, change, refusal) in rows {
        assert_eq!(refused(report(change)), refusal, "{name}");
    }
    for version in [2, 3, 5] {
        assert!(judge(&report(|report| report[0] = version)).is_ok(), "{version}");
    }
}

#[test]
fn a_report_of_another_length_is_none() {
    for length in [0, 671, 1183, 1185] {
        let mut shown = Shown::default();
        shown.report.resize(length, 0);
        assert_eq!(refused(shown), Refusal::Report, "{length}");
    }
}

#[test]
fn one_flipped_bit_anywhere_is_refused() {
    let good = Shown::default().report;
    for at in (0..good.len()).step_by(37) {
        let mut shown = Shown { report: good.clone(), ..Shown::default() };
        shown.report[at] ^= 1;
        judge(&shown).unwrap_err();
    }
}

#[test]
fn a_signature_in_another_form_does_not_hold() {
    type Encode = fn([Vec<u8>; 2]) -> [Vec<u8>; 2];
    let big: Encode = |pair| pair.map(|n| n.into_iter().rev().collect());
    let rows: [(&str, Encode, Refusal); 6] = [
        ("big-endian", big, Refusal::ReportSignature),
        ("r is 0", |[_, s]| [vec![0; 48], s], Refusal::ReportSignature),
        ("s is 0", |[r, _]| [r, vec![0; 48]], Refusal::ReportSignature),
        ("s above the order", |[r, _]| [r, vec![0xff; 48]], Refusal::ReportSignature),
        ("swapped", |[r, s]| [s, r], Refusal::ReportSignature),
        ("s is longer", |[r, s]| [r, [s, vec![1]].concat()], Refusal::Report),
    ];
    for (name, encode, refusal) in rows {
        let report = made::report_by(RUNTIME, |_| (), encode);
        assert_eq!(refused(Shown { report, ..Shown::default() }), refusal, "{name}");
    }
}

#[test]
fn the_chain_has_to_lead_to_a_pinned_root_and_be_valid() {
    let ask = made::ask_by_stranger();
    assert_eq!(refused(Shown { ask, ..Shown::default() }), Refusal::Chain);
    // The chain's certificates in each other's place, and the root's key swapped.
    let swapped = Shown { ask: Vcek::default().der(), vcek: made::ask(), ..Shown::default() };
    assert_eq!(refused(swapped), Refusal::Chain);
    let stranger = Root::new(Product::Genoa, &made::stranger_root()).unwrap();
    let amd = pinned(Product::Genoa).unwrap();
    for roots in [vec![], vec![stranger], vec![amd]] {
        let policy = Policy { roots, ..policy() };
        assert_eq!(at(NOW, &Shown::default(), &policy), Err(Refusal::Chain));
    }
    let named = Vcek { issuer: "SEV-Milan", ..Vcek::default() };
    assert_eq!(refused(shown(&named)), Refusal::Chain);
    let over = Vcek { validity: ("220101000000Z", "230101000000Z"), ..Vcek::default() };
    assert_eq!(refused(shown(&over)), Refusal::CertificateTime);
    let early = Vcek { validity: ("380101000000Z", "390101000000Z"), ..Vcek::default() };
    assert_eq!(refused(shown(&early)), Refusal::CertificateTime);
}

#[test]
fn certificate_and_report_have_to_agree() {
    for which in [1, 2, 3, 8] {
        let mut other = Vcek::default();
        let version = other.versions.iter_mut().find(|(name, _)| *name == which).unwrap();
        version.1 ^= 1;
        assert_eq!(refused(shown(&other)), Refusal::TcbDiffers, "{which}");
        other.versions.retain(|(name, _)| *name != which);
        assert_eq!(refused(shown(&other)), Refusal::Certificate, "{which}");
    }
    // The report's firmware is above the certificate's.
    assert_eq!(refused(report(|report| report[0x187] = 0xd4)), Refusal::TcbDiffers);
    for hardware_id in [vec![], vec![0xc1; 8], vec![0xc1; 63], vec![0xc2; 64], vec![0xc1; 65]] {
        let other = Vcek { hardware_id, ..Vcek::default() };
        assert_eq!(refused(shown(&other)), Refusal::ChipDiffers);
    }
    for product in ["Milan-B0", "Genoax", "genoa"] {
        assert_eq!(refused(shown(&Vcek { product, ..Vcek::default() })), Refusal::Product);
    }
    let provider = Vcek { provider: Some("cloud"), ..Vcek::default() };
    assert_eq!(refused(shown(&provider)), Refusal::SigningKey);
}

#[test]
fn a_chip_of_turin_has_an_id_of_eight_bytes_and_another_layout() {
    let shown = Shown {
        report: made::report(RUNTIME, Turin::report),
        vcek: Turin::vcek().der(),
        ..Shown::default()
    };
    assert!(at(NOW, &shown, &turin()).is_ok());
    assert_eq!(judge(&shown), Err(Refusal::Product));
    let long = Vcek { hardware_id: made::CHIP_ID.to_vec(), ..Turin::vcek() };
    let both = |vcek: &Vcek, change: fn(&mut [u8])| Shown {
        report: made::report(RUNTIME, change),
        vcek: vcek.der(),
        ..Shown::default()
    };
    assert_eq!(at(NOW, &both(&long, Turin::report), &turin()), Err(Refusal::ChipDiffers));
    let tail: fn(&mut [u8]) = |report| {
        Turin::report(report);
        report[0x1df] = 1;
    };
    assert_eq!(at(NOW, &both(&Turin::vcek(), tail), &turin()), Err(Refusal::ChipDiffers));
    let mut fmc = Turin::vcek();
    fmc.versions[0].1 = 2;
    assert_eq!(at(NOW, &both(&fmc, Turin::report), &turin()), Err(Refusal::TcbDiffers));
}

#[test]
fn floors_and_the_list_of_chips_are_kept() {
    let floor = |floor| Policy { floors: vec![(Product::Genoa, floor)], ..policy() };
    let have = Tcb { fmc: 0, bootloader: 7, tee: 0, snp: 0x14, microcode: 0xd3 };
    assert!(at(NOW, &Shown::default(), &floor(have)).is_ok());
    let above = Tcb { microcode: 0xd4, ..have };
    assert_eq!(at(NOW, &Shown::default(), &floor(above)), Err(Refusal::TcbFloor));
    let chips = |chip_ids| Policy { chip_ids, ..policy() };
    assert!(at(NOW, &Shown::default(), &chips(vec![[1; 64], made::CHIP_ID])).is_ok());
    let other = at(NOW, &Shown::default(), &chips(vec![[1; 64]]));
    assert_eq!(other, Err(Refusal::ChipNotAllowed));
}

#[test]
fn an_endorsement_is_of_the_pinned_issuer_feed_and_version() {
    let uvm = |uvm: Uvm| refused(Shown { uvm: Some(uvm.cose()), ..Shown::default() });
    let good = Uvm::default;
    assert_eq!(uvm(Uvm { version: "99", ..good() }), Refusal::Endorsement);
    assert_eq!(uvm(Uvm { version: "-1", ..good() }), Refusal::Endorsement);
    assert_eq!(uvm(Uvm { feed: "Other", ..good() }), Refusal::Endorsement);
    assert_eq!(uvm(Uvm { algorithm: -37, ..good() }), Refusal::Endorsement);
    assert_eq!(uvm(Uvm { chained: false, ..good() }), Refusal::Endorsement);
    assert_eq!(uvm(Uvm { measurement: [0; 48], ..good() }), Refusal::Measurement);
    let cose = good().cose();
    for at in (0..cose.len()).step_by(61) {
        let mut bent = cose.clone();
        bent[at] ^= 1;
        let shown = Shown { uvm: Some(bent), ..Shown::default() };
        // What is not signed is the unprotected header; nothing is read from it.
        if let Err(refusal) = judge(&shown) {
            assert_eq!(refusal, Refusal::Endorsement, "{at}");
        } else {
            let around = cose.windows(9).position(|it| it == b"timestamp").unwrap();
            assert!((around..around + 14).contains(&at), "{at}");
        }
    }
}

#[test]
fn no_bytes_make_a_certificate_trap() {
    let good = Vcek::default().der();
    for at in 0..good.len() {
        for change in [0x00, 0x7f, 0x80, 0xff] {
            let mut bent = good.clone();
            bent[at] = change;
            if let Some(certificate) = Certificate::parse(&bent) {
                drop(snp::vcek::Vcek::read(&certificate));
            }
        }
        assert!(Certificate::parse(&good[..at]).is_none(), "{at}");
    }
    for at in (0..good.len()).step_by(61) {
        let mut vcek = good.clone();
        vcek[at] ^= 0x10;
        judge(&Shown { vcek, ..Shown::default() }).unwrap_err();
    }
}
