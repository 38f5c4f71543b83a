//! Generated text against the full forward pass, alone and beside others.

use underdog::{
    data::Example,
    infer::generate::{Generator, Next, Request, Sampling},
};

use crate::{common::gpu, support::*};

const GREEDY: Sampling = Sampling { temperature: 0.0, top_k: 0, top_p: 1.0 };

fn generator(case: &str, sequences: usize, capacity: usize) -> Generator<'static> {
    Generator::new(gpu(), config(case), &folder(case), sequences, capacity).unwrap()
}

/// The likeliest next token after each prefix that ends in `from..`, by one forward pass over the whole text.
fn likeliest(case: &str, text: &[u32], from: usize) -> Vec<u32> {
    let example = Example { idx: 0, line: 1, ids: text.to_vec(), trained: vec![true; text.len()] };
    let forward = forward(case, &rows(&[example], text.len())[0]);
    let best = |logits: &Vec<f32>| {
        let best = logits.iter().enumerate().fold(0, |best, (i, z)| if *z > logits[best] { i } else { best });
        best as u32
    };
    forward.logits[from..].iter().map(best).collect()
}

/// One request a prompt, each with a seed of its own.
fn requests(prompts: &[Vec<u32>], seed: u64) -> Vec<Request> {
    (seed..).zip(prompts).map(|(seed, prompt)| Request { prompt: prompt.clone(), seed }).collect()
}

/// Texts of 1, 29 and 150 tokens: none, some and several fillings of the cache before the first new token.
fn prompts(case: &str) -> Vec<Vec<u32>> {
    let ids: Vec<u32> = Golden::open(case).examples().iter().flat_map(|example| example.ids.clone()).collect();
    [1, 29, 150].iter().map(|n| ids.iter().cycle().skip(4).take(*n).copied().collect()).collect()
}

#[test]
fn greedy_text_is_what_the_full_forward_pass_says() {
    for case in FAMILIES {
        let prompts = prompts(case);
        let together =
            generator(case, 3, 170).generate(&requests(&prompts, 0), 12, GREEDY, &[], |_, _| Next::More).unwrap();
        let mut one = generator(case, 1, 170);
        for (prompt, written) in prompts.iter().zip(&together) {
            assert_eq!(written.len(), 12);
            let text = [&prompt[..], written].concat();
            let want = likeliest(case, &text[..text.len() - 1], prompt.len() - 1);
            assert_eq!(written, &want, "{case}, a prompt of {}", prompt.len());
            let alone =
                one.generate(&requests(std::slice::from_ref(prompt), 0), 12, GREEDY, &[], |_, _| Next::More).unwrap();
            assert_eq!(&alone[0], written, "{case}, a prompt of {}, alone", prompt.len());
        }
    }
}

#[test]
fn text_ends_where_it_should() {
    let case = "llama3";
    let prompts = prompts(case)[..2].to_vec();
    // A token that is written need not fit: only tokens that were read lie in the cache.
    let full = generator(case, 2, 32).generate(&requests(&prompts, 0), 100, GREEDY, &[], |_, _| Next::More).unwrap();
    assert_eq!(full.iter().map(Vec::len).collect::<Vec<_>>(), [32, 4]);

    let stop = full[1][2];
    let first = |text: &[u32]| text.iter().position(|token| *token == stop).map_or(text.len(), |at| at + 1);
    let mut seen = vec![Vec::new(); 2];
    let stopped = generator(case, 2, 32)
        .generate(&requests(&prompts, 0), 100, GREEDY, &[stop], |sequence, token| {
            seen[sequence].push(token);
            Next::More
        })
        .unwrap();
    let want: Vec<&[u32]> = full.iter().map(|text| &text[..first(text)]).collect();
    assert_eq!(stopped, want, "a stopped text must not disturb the other");
    assert_eq!(seen, stopped);

    let few = generator(case, 2, 32).generate(&requests(&prompts, 0), 2, GREEDY, &[], |_, _| Next::More).unwrap();
    assert_eq!(few, full.iter().map(|text| &text[..2]).collect::<Vec<_>>());
    let cut = generator(case, 2, 32).generate(&requests(&prompts, 0), 100, GREEDY, &[], |_, _| Next::Stop).unwrap();
    assert_eq!(cut, [vec![full[0][0]], vec![]]);
}

#[test]
fn draws_depend_on_the_seed_and_the_text_alone() {
    let case = "qwen3";
    let prompts = prompts(case);
    let sampling = Sampling { temperature: 1.0, ..GREEDY };
    let draw = |requests: &[Request]| {
        generator(case, 3, 170).generate(requests, 8, sampling, &[], |_, _| Next::More).unwrap()
    };
    let together = draw(&requests(&prompts, 1));
    assert_eq!(together, draw(&requests(&prompts, 1)));
    assert_ne!(together, draw(&requests(&prompts, 11)));
    for (request, text) in requests(&prompts, 1).into_iter().zip(&together) {
        assert_eq!(draw(&[request]), std::slice::from_ref(text), "drawn alone");
    }
}

#[test]
fn a_text_ends_alone_when_its_reader_says_so() {
    let case = "llama3";
    let prompts = prompts(case)[..2].to_vec();
    let full = generator(case, 2, 64).generate(&requests(&prompts, 0), 10, GREEDY, &[], |_, _| Next::More).unwrap();
    let mut seen = 0;
    let ended = generator(case, 2, 64)
        .generate(&requests(&prompts, 0), 10, GREEDY, &[], |sequence, _| {
            seen += usize::from(sequence == 0);
            if sequence == 0 && seen == 3 { Next::End } else { Next::More }
        })
        .unwrap();
    assert_eq!(ended, [full[0][..3].to_vec(), full[1].clone()]);
}
