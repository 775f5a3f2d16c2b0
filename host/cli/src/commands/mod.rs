//! One file a command: its arguments, what it calls, what it prints.

pub mod apikey;
pub mod approval;
pub mod attack;
pub mod attest;
pub mod audit;
pub mod check;
pub mod completions;
pub mod credential;
pub mod demo;
pub mod doctor;
pub mod enrol;
pub mod framework;
pub mod gateway;
pub mod gateway_set;
pub mod init;
pub mod invite;
pub mod keys;
pub mod man;
pub mod person;
pub mod policy;
pub mod release;
pub mod replay;
pub mod revocation;
pub mod token;
pub mod upstream;
pub mod witness;
