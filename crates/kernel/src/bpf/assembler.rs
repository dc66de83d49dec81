//! Instructions of the kernel's virtual machine for packets, with labels in the place of distances.

use std::{collections::BTreeMap, os::fd::RawFd};

/// A register. `R0` is what a call or the program returns, `R1` to `R5` are arguments, which a call uses up, `R6` to `R9`
/// stay, `R10` is the end of the stack.
#[derive(Debug, Clone, Copy)]
pub(super) enum Register {
    R0,
    R1,
    R2,
    R3,
    R4,
    R6 = 6,
    R7,
    R8,
    R10 = 10,
}

/// How much is read or written at once.
#[derive(Debug, Clone, Copy)]
pub(super) enum Size {
    Word = 0x00,
    Half = 0x08,
    Byte = 0x10,
    Double = 0x18,
}

/// What is done to a register.
#[derive(Debug, Clone, Copy)]
pub(super) enum Operation {
    Add = 0x00,
    Subtract = 0x10,
    Or = 0x40,
    And = 0x50,
    ShiftLeft = 0x60,
    ShiftRight = 0x70,
    Move = 0xb0,
}

/// When it is jumped. Numbers have no sign.
#[derive(Debug, Clone, Copy)]
pub(super) enum Test {
    Equal = 0x10,
    Greater = 0x20,
    SharesBits = 0x40,
    Different = 0x50,
    Less = 0xa0,
}

/// The right side of an operation or a test.
#[derive(Debug, Clone, Copy)]
pub(super) enum Operand {
    Register(Register),
    Number(i32),
}

/// Functions of the kernel.
#[derive(Debug, Clone, Copy)]
pub(super) enum Call {
    Lookup = 1,
    Update = 2,
    Delete = 3,
    Redirect = 23,
    /// Nanoseconds since the start, as of the last tick.
    Now = 160,
}

/// As the kernel takes it.
#[repr(C)]
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Instruction {
    code: u8,
    registers: u8,
    offset: i16,
    number: i32,
}

/// A program that is being written.
#[derive(Debug, Default)]
pub(super) struct Program {
    code: Vec<Instruction>,
    labels: BTreeMap<&'static str, usize>,
    jumps: Vec<(usize, &'static str)>,
}

/// A program jumps to a label that it does not have, or too far, or has one twice.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct BadLabel(pub(super) &'static str);

impl From<Register> for Operand {
    fn from(register: Register) -> Self {
        Self::Register(register)
    }
}

impl From<i32> for Operand {
    fn from(number: i32) -> Self {
        Self::Number(number)
    }
}

impl Operand {
    /// The bit of a code that says which of both it is, the register and the number.
    fn parts(self) -> (u8, u8, i32) {
        match self {
            Self::Register(register) => (0x08, register as u8, 0),
            Self::Number(number) => (0x00, 0, number),
        }
    }
}

impl Program {
    fn push(&mut self, code: u8, (to, from): (u8, u8), offset: i16, number: i32) {
        let registers = if cfg!(target_endian = "big") { to << 4 | from } else { from << 4 | to };
        self.code.push(Instruction { code, registers, offset, number });
    }

    /// `to = memory[from + offset]`
    pub(super) fn load(&mut self, size: Size, to: Register, from: Register, offset: i16) {
        self.push(0x61 | size as u8, (to as u8, from as u8), offset, 0);
    }

    /// `memory[to + offset] = what`
    pub(super) fn store(&mut self, size: Size, to: Register, offset: i16, what: impl Into<Operand>) {
        match what.into() {
            Operand::Register(from) => self.push(0x63 | size as u8, (to as u8, from as u8), offset, 0),
            Operand::Number(number) => self.push(0x62 | size as u8, (to as u8, 0), offset, number),
        }
    }

    /// `register = register ∘ with`, of 64 bits.
    pub(super) fn compute(&mut self, operation: Operation, register: Register, with: impl Into<Operand>) {
        let (bit, from, number) = with.into().parts();
        self.push(0x07 | bit | operation as u8, (register as u8, from), 0, number);
    }

    /// `register = what`
    pub(super) fn set(&mut self, register: Register, what: impl Into<Operand>) {
        self.compute(Operation::Move, register, what);
    }

    /// `to = from + offset`
    pub(super) fn address(&mut self, to: Register, from: Register, offset: i16) {
        self.set(to, from);
        self.compute(Operation::Add, to, i32::from(offset));
    }

    fn wide(&mut self, to: Register, kind: u8, number: i32, upper: i32) {
        self.push(0x18, (to as u8, kind), 0, number);
        self.push(0, (0, 0), 0, upper);
    }

    /// `to = number`, of 64 bits.
    pub(super) fn set_wide(&mut self, to: Register, number: u64) {
        self.wide(to, 0, number as u32 as i32, (number >> 32) as u32 as i32);
    }

    /// `to =` that map.
    pub(super) fn map(&mut self, to: Register, map: RawFd) {
        self.wide(to, 1, map, 0);
    }

    /// `to =` the address of the first value of that array.
    pub(super) fn first_value(&mut self, to: Register, map: RawFd) {
        self.wide(to, 2, map, 0);
    }

    /// Goes on at the label if `register` passes.
    pub(super) fn jump_if(&mut self, register: Register, test: Test, with: impl Into<Operand>, label: &'static str) {
        let (bit, from, number) = with.into().parts();
        self.jumps.push((self.code.len(), label));
        self.push(0x05 | bit | test as u8, (register as u8, from), 0, number);
    }

    /// Goes on at the label.
    pub(super) fn jump(&mut self, label: &'static str) {
        self.jumps.push((self.code.len(), label));
        self.push(0x05, (0, 0), 0, 0);
    }

    /// What follows has this name.
    pub(super) fn label(&mut self, label: &'static str) {
        // A label that is there twice leads nowhere, which `assemble` refuses.
        let place = if self.labels.contains_key(label) { usize::MAX } else { self.code.len() };
        self.labels.insert(label, place);
    }

    /// Calls the kernel.
    pub(super) fn call(&mut self, function: Call) {
        self.push(0x85, (0, 0), 0, function as i32);
    }

    /// Ends.
    pub(super) fn exit(&mut self) {
        self.push(0x95, (0, 0), 0, 0);
    }

    /// The instructions, with all jumps led to their labels.
    pub(super) fn assemble(mut self) -> Result<Vec<Instruction>, BadLabel> {
        for (place, label) in self.jumps {
            let target = self.labels.get(label).filter(|target| **target <= self.code.len());
            let distance = target.and_then(|target| i16::try_from(*target as isize - place as isize - 1).ok());
            self.code[place].offset = distance.ok_or(BadLabel(label))?;
        }
        Ok(self.code)
    }
}

#[cfg(test)]
mod tests {
    use super::{Register::*, *};

    #[test]
    fn jumps_lead_to_their_labels_both_ways() {
        let mut program = Program::default();
        program.set(R0, 7);
        program.label("again");
        program.jump_if(R0, Test::Equal, 0, "end");
        program.compute(Operation::Subtract, R0, 1);
        program.jump("again");
        program.label("end");
        program.exit();
        let code = program.assemble().unwrap();
        assert_eq!(code.iter().map(|it| it.offset).collect::<Vec<_>>(), [0, 2, 0, -3, 0]);
        assert_eq!(code.iter().map(|it| it.code).collect::<Vec<_>>(), [0xb7, 0x15, 0x17, 0x05, 0x95]);
    }

    #[test]
    fn a_label_that_is_missing_or_twice_is_refused() {
        let mut program = Program::default();
        program.jump("nowhere");
        assert_eq!(program.assemble(), Err(BadLabel("nowhere")));
        let mut program = Program::default();
        program.label("twice");
        program.label("twice");
        program.jump("twice");
        assert_eq!(program.assemble(), Err(BadLabel("twice")));
    }

    #[test]
    fn instructions_are_as_the_kernel_has_them() {
        let mut program = Program::default();
        program.load(Size::Half, R1, R7, 12);
        program.store(Size::Double, R10, -8, R2);
        program.store(Size::Word, R6, 64, 5);
        program.set_wide(R3, 0x1_0000_0002);
        program.map(R4, 9);
        program.call(Call::Redirect);
        let parts: Vec<_> =
            program.assemble().unwrap().iter().map(|it| (it.code, it.registers, it.offset, it.number)).collect();
        let wide = [(0x18, 0x03, 0, 2), (0, 0, 0, 1), (0x18, 0x14, 0, 9), (0, 0, 0, 0)];
        let expected = [(0x69, 0x71, 12, 0), (0x7b, 0x2a, -8, 0), (0x62, 0x06, 64, 5)];
        assert_eq!(parts, [&expected[..], &wide[..], &[(0x85, 0, 0, 23)][..]].concat());
    }
}
