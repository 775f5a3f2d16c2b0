//! A worker that goes over to a changed gateway, or refuses to.

mod support;

use std::path::Path;
use std::rc::Rc;
use std::time::Duration;

use postern_runtime::config::Gateway;
use postern_runtime::engine::VmSettings;
use postern_runtime::proxy::filters::Seat;
use postern_runtime::proxy::launch::{Programs, Surroundings, Worker};
use postern_runtime::view::Services;
use support::Process;
use support::bootstrap::{Parts, bootstrap};

/// Ticks, and refuses a configuration that is not empty.
const PICKY: &str = r#"
    (import "env" "proxy_set_tick_period_milliseconds" (func $tick (param i32) (result i32)))
    (func (export "proxy_on_configure") (param i32) (param $size i32) (result i32)
        (drop (call $tick (i32.const 10)))
        (i32.eqz (local.get $size)))"#;

fn filter(module: &Path, vm: &str, name: &str, configuration: &str) -> String {
    format!(
        r#"
          - name: {name}
            typed_config:
              "@type": type.googleapis.com/envoy.extensions.filters.http.wasm.v3.Wasm
              config:
                name: {name}
                failure_policy: FAIL_CLOSED
                configuration: {{"@type": type.googleapis.com/google.protobuf.StringValue, value: "{configuration}"}}
                vm_config:
                  vm_id: {vm}
                  runtime: envoy.wasm.runtime.v8
                  code: {{local: {{filename: {}}}}}"#,
        module.display()
    )
}

fn gateway(filters: &str) -> Gateway {
    Gateway::parse(&bootstrap(&Parts { manager: "", filters, route: "", cluster: "" }, 9)).unwrap()
}

struct Bench {
    process: Rc<Process>,
    worker: Option<Worker>,
}

impl Bench {
    /// Whether the worker goes over.
    fn change(&mut self, filters: &str) -> bool {
        let gateway = gateway(filters);
        let programs = Programs::load(support::engine(), &gateway).unwrap();
        let process = Rc::clone(&self.process);
        let services = move |_: usize, _: &str| -> Rc<dyn Services> { process.clone() };
        let around = Surroundings {
            variable: &|_| None,
            services: &services,
            settings: VmSettings { deadline: Duration::from_secs(5), ..VmSettings::default() },
        };
        match &mut self.worker {
            None => {
                self.worker = Some(Worker::start(&gateway, &programs, &around).unwrap());
                true
            }
            Some(worker) => worker.change(&gateway, &programs, &around).is_ok(),
        }
    }

    /// Which of the filters have a root.
    fn run(&self) -> Vec<bool> {
        let site = &self.worker.as_ref().unwrap().sites[0];
        let seats = site.filters.iter().map(|seat| match seat {
            Seat::Plugin(place) => {
                let mut machine = place.machine.borrow_mut();
                machine.root(place.plugin, Duration::ZERO, |_, _| Ok(())).is_ok()
            }
            Seat::Native(..) => false,
        });
        seats.collect()
    }
}

#[test]
fn a_change_that_fails_half_way_leaves_the_next_one_whole() {
    let folder = tempfile::tempdir().unwrap();
    let module = folder.path().join("module.wasm");
    postern_files::write_atomic(&module, &support::wat(PICKY)).unwrap();
    let filter = |name: &str, configuration: &str| filter(&module, "v", name, configuration);
    let mut bench = Bench { process: Rc::default(), worker: None };
    assert!(bench.change(&filter("a", "")));
    let (a, b) = (filter("a", ""), filter("b", ""));
    assert!(!bench.change(&format!("{a}{b}{}", filter("c", "no"))));
    assert_eq!(bench.run(), [true]);
    assert!(bench.change(&format!("{a}{}", filter("d", ""))));
    assert_eq!(bench.run(), [true, true]);
}

#[test]
fn a_machine_that_does_not_start_leaves_no_ticks() {
    let folder = tempfile::tempdir().unwrap();
    let module = folder.path().join("module.wasm");
    postern_files::write_atomic(&module, &support::wat(PICKY)).unwrap();
    let filter = |vm: &str, name: &str, no: &str| filter(&module, vm, name, no);
    let mut bench = Bench { process: Rc::default(), worker: None };
    assert!(bench.change(""));
    // A machine with two plugins of which one is refused, and one that would have started.
    let (a, b) = (filter("w", "a", ""), filter("w", "b", "no"));
    assert!(!bench.change(&format!("{a}{b}{}", filter("v", "c", ""))));
    let ticks = bench.process.ticks.borrow();
    let starts = ticks.iter().filter(|(_, period)| !period.is_zero()).count();
    let stops = ticks.iter().filter(|(_, period)| period.is_zero()).count();
    assert!(starts == 3 && stops >= starts, "{ticks:?}");
}
