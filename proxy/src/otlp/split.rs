//! A request taken apart, as ranges of its bytes, and put together again of some of its leaves:
//! spans, data points or log records, each with the resource and scope that it came with.
//!
//! What the tables do not know stays with the message that it stood in. Only the order of fields in
//! a message changes: what may come apart stands behind the rest.

use std::ops::Range;

use smallvec::SmallVec;

use super::schema::{Kind, Message, Part};
use super::wire::{Reader, Value, put_bytes, put_nested, put_tag};

/// A request, taken apart. It was checked before.
#[derive(Debug)]
pub struct Tree<'a> {
    root: Node<'a>,
}

#[derive(Debug)]
struct Node<'a> {
    /// In the message around it.
    number: u32,
    width: usize,
    /// Fields that stay together, as they stand on the wire.
    rest: SmallVec<[&'a [u8]; 4]>,
    children: Vec<Child<'a>>,
    /// Numbers of the leaves in it.
    leaves: Range<usize>,
}

#[derive(Debug)]
enum Child<'a> {
    Leaf {
        number: u32,
        leaf: usize,
        bytes: &'a [u8],
    },
    /// Boxed, as leaves are many and nodes are few.
    Node(Box<Node<'a>>),
}

impl<'a> Tree<'a> {
    pub fn new(request: &Message, bytes: &'a [u8]) -> Self {
        let mut leaves = 0;
        Self {
            root: node(request, 0, bytes, &mut leaves),
        }
    }

    /// How many leaves there are; they are numbered from zero, in order.
    pub fn len(&self) -> usize {
        self.root.leaves.end
    }

    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// All leaves, in order.
    pub fn leaves(&self) -> Vec<&'a [u8]> {
        let mut found = Vec::with_capacity(self.len());
        collect(&self.root, &mut found);
        found
    }

    /// What stands beside the scopes in each `Resource…`, and the leaves that it has.
    pub fn resources(&self) -> impl Iterator<Item = (&[&'a [u8]], Range<usize>)> {
        self.root.children.iter().filter_map(|child| match child {
            Child::Node(node) => Some((&node.rest[..], node.leaves.clone())),
            Child::Leaf { .. } => None,
        })
    }

    /// Appends a request of these leaves only; their numbers ascend.
    pub fn write(&self, leaves: &[usize], out: &mut Vec<u8>) {
        self.root.fields(leaves, out);
    }
}

impl Node<'_> {
    fn fields(&self, leaves: &[usize], out: &mut Vec<u8>) {
        for field in &self.rest {
            out.extend_from_slice(field);
        }
        let mut left = leaves;
        for child in &self.children {
            match child {
                Child::Leaf {
                    number,
                    leaf,
                    bytes,
                } => {
                    if left.first() == Some(leaf) {
                        left = &left[1..];
                        put_bytes(*number, bytes, out);
                    }
                }
                Child::Node(node) => {
                    let here = left.partition_point(|leaf| *leaf < node.leaves.end);
                    let (chosen, behind) = left.split_at(here);
                    left = behind;
                    if !chosen.is_empty() {
                        put_tag(node.number, 2, out);
                        put_nested(node.width, out, |out| node.fields(chosen, out));
                    }
                }
            }
            if left.is_empty() {
                break;
            }
        }
    }
}

fn node<'a>(message: &Message, number: u32, bytes: &'a [u8], leaves: &mut usize) -> Node<'a> {
    let (Part::Branch(parts) | Part::Twig(parts)) = message.part else {
        unreachable!("leaves are not taken apart");
    };
    let mut node = Node {
        number,
        width: message.width,
        rest: SmallVec::new(),
        children: Vec::new(),
        leaves: *leaves..*leaves,
    };
    let mut reader = Reader::new(bytes);
    loop {
        let before = reader.rest();
        let Ok(Some((number, value))) = reader.field() else {
            break;
        };
        let field = message.place(number).map(|place| &message.fields[place]);
        match (field.map(|field| field.kind), value) {
            (Some(Kind::Message(inner)), Value::Bytes(bytes)) if parts.contains(&number) => {
                let child = child(inner, number, bytes, leaves);
                node.children.extend(child);
            }
            _ => node
                .rest
                .push(&before[..before.len() - reader.rest().len()]),
        }
    }
    node.leaves.end = *leaves;
    node
}

/// A part of a message; none where there is nothing in it.
fn child<'a>(
    message: &Message,
    number: u32,
    bytes: &'a [u8],
    leaves: &mut usize,
) -> Option<Child<'a>> {
    if message.part != Part::Leaf {
        let node = node(message, number, bytes, leaves);
        if !node.leaves.is_empty() {
            return Some(Child::Node(Box::new(node)));
        }
        if matches!(message.part, Part::Branch(_)) {
            return None;
        }
    }
    let leaf = *leaves;
    *leaves += 1;
    Some(Child::Leaf {
        number,
        leaf,
        bytes,
    })
}

fn collect<'a>(node: &Node<'a>, found: &mut Vec<&'a [u8]>) {
    for child in &node.children {
        match child {
            Child::Leaf { bytes, .. } => found.push(bytes),
            Child::Node(node) => collect(node, found),
        }
    }
}
