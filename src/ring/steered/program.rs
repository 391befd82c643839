//! The sk_lookup program: of a UDP packet to one of our ports it says which shard's socket takes it.
//!
//! ```text
//!   if protocol != UDP or address != ours or port outside of the range: pass
//!   sk_assign(sockets[(port - first) / ports per shard])
//!   pass                       (always: what is not assigned finds its socket as ever)
//! ```

use std::net::IpAddr;

use crate::ring::tier::PortSlice;
use crate::sys::bpf::{Alu, Assembler, Attach, BpfError, Map, Program, ProgramKind, Reg, Size, Test};

/// Offsets in `struct bpf_sk_lookup` (linux/bpf.h). Addresses are in network order, the local port is in ours.
const FAMILY: i16 = 8;
const PROTOCOL: i16 = 12;
const LOCAL_IP4: i16 = 40;
const LOCAL_IP6: i16 = 44;
const LOCAL_PORT: i16 = 60;

/// Helpers (`enum bpf_func_id`).
const MAP_LOOKUP_ELEM: i32 = 1;
const SK_RELEASE: i32 = 86;
const SK_ASSIGN: i32 = 124;
/// `SK_PASS`.
const PASS: i32 = 1;

/// The program for `shards` slices, the first of which is `slice`; `sockets` holds a socket for each.
pub(super) fn load(slice: &PortSlice, shards: usize, sockets: &Map) -> Result<Program, BpfError> {
    let mut asm = Assembler::default();
    let pass = asm.label();
    asm.copy(Reg::R6, Reg::R1);
    asm.load(Size::U32, Reg::R2, Reg::R6, PROTOCOL);
    asm.jump_if(Reg::R2, Test::Different, libc::IPPROTO_UDP as u32, pass);
    let last = u32::from(slice.first) + u32::from(slice.count) * shards as u32 - 1;
    asm.load(Size::U32, Reg::R7, Reg::R6, LOCAL_PORT);
    asm.jump_if(Reg::R7, Test::Less, u32::from(slice.first), pass);
    asm.jump_if(Reg::R7, Test::Greater, last, pass);
    match slice.address {
        IpAddr::V4(address) => {
            is_of(&mut asm, libc::AF_INET, pass);
            if !address.is_unspecified() {
                is_at(&mut asm, LOCAL_IP4, &address.octets(), pass);
            }
        }
        // An unspecified one takes IPv4 as well, as such a socket does unless the system says otherwise (net.ipv6.bindv6only): then the
        // kernel refuses the assignment and the packet goes where it would have gone.
        IpAddr::V6(address) if address.is_unspecified() => {}
        IpAddr::V6(address) => {
            is_of(&mut asm, libc::AF_INET6, pass);
            is_at(&mut asm, LOCAL_IP6, &address.octets(), pass);
        }
    }
    asm.alu(Alu::Subtract, Reg::R7, i32::from(slice.first));
    asm.alu(Alu::Divide, Reg::R7, i32::from(slice.count));
    asm.store(Size::U32, Reg::R10, -4, Reg::R7);
    asm.map(Reg::R1, sockets);
    asm.copy(Reg::R2, Reg::R10);
    asm.alu(Alu::Add, Reg::R2, -4);
    asm.call(MAP_LOOKUP_ELEM);
    asm.jump_if_null(Reg::R0, pass);
    asm.copy(Reg::R7, Reg::R0);
    asm.copy(Reg::R1, Reg::R6);
    asm.copy(Reg::R2, Reg::R7);
    asm.set(Reg::R3, 0);
    asm.call(SK_ASSIGN);
    asm.copy(Reg::R1, Reg::R7);
    asm.call(SK_RELEASE);
    asm.place(pass);
    asm.set(Reg::R0, PASS);
    asm.exit();
    Program::load(ProgramKind::SkLookup, Attach::SkLookup, &asm.finish(), "tapehead_rtp")
}

fn is_of(asm: &mut Assembler, family: i32, pass: crate::sys::bpf::Label) {
    asm.load(Size::U32, Reg::R2, Reg::R6, FAMILY);
    asm.jump_if(Reg::R2, Test::Different, family as u32, pass);
}

/// Compares an address, four bytes at a time, as it lies in memory.
fn is_at(asm: &mut Assembler, offset: i16, octets: &[u8], pass: crate::sys::bpf::Label) {
    for (word, at) in octets.chunks_exact(4).zip((offset..).step_by(4)) {
        asm.load(Size::U32, Reg::R2, Reg::R6, at);
        asm.jump_if(Reg::R2, Test::Different, u32::from_ne_bytes([word[0], word[1], word[2], word[3]]), pass);
    }
}
