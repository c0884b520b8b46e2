//! What a module may cost to compile: the compiler cannot be interrupted, so what would keep it for
//! minutes, or fill the memory, is refused before. Plugins in any language are far within.

use std::ops::AddAssign;

use wasmparser::{BlockType, FuncType, FunctionBody, Operator, Parser, Payload};

/// Most bytes of a module. One in Python has 18 MiB.
pub(super) const MODULE_BYTES: usize = 128 << 20;

/// Most bytes of one function: the compiler's time and memory grow faster than these.
const FUNCTION_BYTES: usize = 1 << 20;

/// Most functions of a module, with those of all modules in it, and most locals of all of them, of
/// which a few bytes may stand for many.
const FUNCTIONS: u64 = 100_000;
const LOCALS: u64 = 4_000_000;

/// Most loops in each other: the compiler's time grows with the square of these.
const LOOPS: usize = 100;

/// Most pairs of a variable and a block of one function: the compiler keeps four bytes for each, and up to
/// eight as lists grow, on all cores at once. The interpreter of JavaScript has eleven million.
const PAIRS: u64 = 1 << 26;

/// Most globals, each of which is code that runs at each instantiation.
const GLOBALS: u64 = 100_000;

/// Says of bytes that are none of WebAssembly's that they are none: what a parser says is their values.
pub fn magic(module: &[u8]) -> Result<(), String> {
    if module.starts_with(b"\0asm") {
        Ok(())
    } else {
        Err("it is no WebAssembly".to_owned())
    }
}

/// Why a module is not compiled. It is no judge of what is a broken module: that the compiler says.
pub(super) fn check(module: &[u8]) -> Result<(), String> {
    magic(module)?;
    if module.len() > MODULE_BYTES {
        return Err(format!("has more than {MODULE_BYTES} bytes"));
    }
    let (mut functions, mut locals, mut globals) = (0, 0, 0);
    // Of the module's types: how many values each takes and gives, and the most of these.
    let (mut arities, mut widest): (Vec<u64>, u64) = (Vec::new(), 0);
    for payload in Parser::new(0).parse_all(module) {
        match payload {
            Ok(Payload::TypeSection(section)) => {
                let types = section.into_iter_err_on_gc_types();
                let arity = |ty: FuncType| (ty.params().len() + ty.results().len()) as u64;
                arities = types.map(|ty| ty.map_or(0, arity)).collect();
                widest = arities.iter().copied().max().unwrap_or(0);
            }
            Ok(Payload::FunctionSection(section)) => {
                add(&mut functions, section.count(), FUNCTIONS, "functions")?;
            }
            Ok(Payload::GlobalSection(section)) => {
                add(&mut globals, section.count(), GLOBALS, "globals")?;
            }
            Ok(Payload::CodeSectionEntry(body)) => {
                let bytes = body.range().len();
                if bytes > FUNCTION_BYTES {
                    return Err(format!(
                        "has a function of {bytes} bytes, and may have {FUNCTION_BYTES} in one"
                    ));
                }
                let before = locals;
                let declared = body.get_locals_reader().into_iter().flatten();
                for (count, _) in declared.flatten() {
                    add(&mut locals, count, LOCALS, "locals")?;
                }
                let shape = Shape::of(&body, &arities);
                if shape.loops > LOOPS {
                    return Err(format!("has more than {LOOPS} loops in each other"));
                }
                let (blocks, variables) = (shape.blocks, locals - before + widest + shape.values);
                if variables.saturating_mul(blocks) > PAIRS {
                    return Err(format!(
                        "has a function of {variables} variables and {blocks} blocks, and may have \
                         {PAIRS} pairs of them in one"
                    ));
                }
            }
            Ok(_) => {}
            Err(_) => break,
        }
    }
    Ok(())
}

/// What a function costs to compile.
#[derive(Default)]
struct Shape {
    /// Most loops in each other.
    loops: usize,
    /// Most blocks that the compiler makes of it.
    blocks: u64,
    /// Values that its constructs take and give, each a variable.
    values: u64,
}

impl Shape {
    fn of(body: &FunctionBody<'_>, arities: &[u64]) -> Self {
        let mut shape = Self::default();
        // Whether each construct that is open is a loop.
        let mut open: Vec<bool> = Vec::new();
        let mut loops = 0;
        for operator in body.get_operators_reader().into_iter().flatten().flatten() {
            shape.blocks += blocks(&operator);
            match operator {
                Operator::Loop { blockty } => {
                    loops += 1;
                    shape.loops = shape.loops.max(loops);
                    shape.values += values(blockty, arities);
                    open.push(true);
                }
                Operator::Block { blockty } | Operator::If { blockty } => {
                    shape.values += values(blockty, arities);
                    open.push(false);
                }
                // The last is that of the function.
                Operator::End => loops -= usize::from(open.pop() == Some(true)),
                _ => {}
            }
        }
        shape
    }
}

/// Most blocks that the compiler makes of an operator.
fn blocks(operator: &Operator<'_>) -> u64 {
    match operator {
        Operator::Block { .. } | Operator::BrIf { .. } => 1,
        Operator::CallIndirect { .. }
        | Operator::ReturnCallIndirect { .. }
        | Operator::TableGet { .. } => 2,
        // With its `else`.
        Operator::If { .. } => 3,
        // With a look at the clock.
        Operator::Loop { .. } => 5,
        Operator::TableGrow { .. }
        | Operator::TableFill { .. }
        | Operator::TableCopy { .. }
        | Operator::TableInit { .. } => 8,
        Operator::BrTable { targets } => u64::from(targets.len()) + 1,
        _ => 0,
    }
}

fn values(of: BlockType, arities: &[u64]) -> u64 {
    match of {
        BlockType::Empty => 0,
        BlockType::Type(_) => 1,
        BlockType::FuncType(index) => arities.get(index as usize).copied().unwrap_or(0),
    }
}

fn add(sum: &mut u64, more: u32, most: u64, what: &str) -> Result<(), String> {
    sum.add_assign(u64::from(more));
    if *sum > most {
        return Err(format!("has more than {most} {what}"));
    }
    Ok(())
}
