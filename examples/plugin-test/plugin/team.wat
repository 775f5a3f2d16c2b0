;; Asks the cluster `teams` about each request and lets it pass on 200.
;;
;; No x-team: 401 at once. Any other answer than 200, or none: 403. Every question is counted
;; in team.asked.
(module
  (import "env" "proxy_get_header_map_value"
    (func $field (param i32 i32 i32 i32 i32) (result i32)))
  (import "env" "proxy_add_header_map_value"
    (func $add (param i32 i32 i32 i32 i32) (result i32)))
  (import "env" "proxy_http_call"
    (func $ask (param i32 i32 i32 i32 i32 i32 i32 i32 i32 i32) (result i32)))
  (import "env" "proxy_continue_stream" (func $continue (param i32) (result i32)))
  (import "env" "proxy_send_local_response"
    (func $reply (param i32 i32 i32 i32 i32 i32 i32 i32) (result i32)))
  (import "env" "proxy_define_metric" (func $define (param i32 i32 i32 i32) (result i32)))
  (import "env" "proxy_increment_metric" (func $count (param i32 i64) (result i32)))
  (import "env" "proxy_set_effective_context" (func $act_on (param i32) (result i32)))

  (memory (export "memory") 1)
  (data (i32.const 0) "x-team" "teams" ":status" "200" "x-checked" "yes" "team.asked")
  ;; A map of three fields: their number, the sizes of names and values, the texts.
  (data (i32.const 128)
    "\03\00\00\00" "\07\00\00\00\03\00\00\00" "\05\00\00\00\06\00\00\00" "\0a\00\00\00\05\00\00\00"
    ":method\00GET\00" ":path\00/check\00" ":authority\00teams\00")
  (data (i32.const 256) "no team" "not this team")
  ;; Where answers are written: pointer and size at 512 and 516, a token at 520, a metric at 524.
  (global $free (mut i32) (i32.const 1024))

  (func (export "proxy_abi_version_0_2_1"))
  (func (export "_initialize"))
  ;; Memory is given out and taken back as a whole with each callback.
  (func (export "proxy_on_memory_allocate") (param $size i32) (result i32)
    (global.get $free)
    (global.set $free (i32.add (global.get $free) (local.get $size))))

  (func (export "proxy_on_configure") (param i32 i32) (result i32)
    (i32.eqz (call $define (i32.const 0) (i32.const 33) (i32.const 10) (i32.const 524))))

  (func (export "proxy_on_request_headers") (param $context i32) (param i32 i32) (result i32)
    (global.set $free (i32.const 1024))
    (if (call $field (i32.const 0) (i32.const 0) (i32.const 6) (i32.const 512) (i32.const 516))
      (then (call $refuse (i32.const 401) (i32.const 256) (i32.const 7)) (return (i32.const 1))))
    (drop (call $count (i32.load (i32.const 524)) (i64.const 1)))
    (if (call $ask (i32.const 6) (i32.const 5) (i32.const 128) (i32.const 70)
          (i32.load (i32.const 512)) (i32.load (i32.const 516)) (i32.const 0) (i32.const 0)
          (i32.const 500) (i32.const 520))
      (then (call $refuse (i32.const 403) (i32.const 263) (i32.const 13)))
      (else (i32.store (call $asker (i32.load (i32.const 520))) (local.get $context))))
    (i32.const 1))

  ;; Where it stands which stream has asked under a token: the answer comes to the root.
  (func $asker (param $token i32) (result i32)
    (i32.add (i32.const 32768) (i32.shl (i32.and (local.get $token) (i32.const 1023)) (i32.const 2))))

  (func (export "proxy_on_http_call_response") (param $root i32) (param $token i32) (param i32 i32 i32)
    (global.set $free (i32.const 1024))
    (drop (call $act_on (i32.load (call $asker (local.get $token)))))
    (drop (call $field (i32.const 6) (i32.const 11) (i32.const 7) (i32.const 512) (i32.const 516)))
    (if (call $is_200)
      (then
        (drop (call $add (i32.const 0) (i32.const 21) (i32.const 9) (i32.const 30) (i32.const 3)))
        (drop (call $continue (i32.const 0))))
      (else (call $refuse (i32.const 403) (i32.const 263) (i32.const 13)))))

  ;; Whether the three bytes at the pointer are "200".
  (func $is_200 (result i32)
    (local $at i32)
    (local.set $at (i32.load (i32.const 512)))
    (i32.and
      (i32.eq (i32.load16_u (local.get $at)) (i32.const 0x3032))
      (i32.eq (i32.load8_u offset=2 (local.get $at)) (i32.const 0x30))))

  (func $refuse (param $status i32) (param $text i32) (param $size i32)
    (drop (call $reply (local.get $status) (i32.const 0) (i32.const 0)
      (local.get $text) (local.get $size) (i32.const 0) (i32.const 0) (i32.const -1)))))
